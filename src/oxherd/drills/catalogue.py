"""The drills by name."""

from __future__ import annotations

from collections.abc import Iterable

from oxherd.drills import cluster_drills, deploy_drills, server_drills, worker_drills
from oxherd.drills.drill import Drill
from oxherd.errors import UsageError

DRILLS: dict[str, Drill] = {
    each.name: each
    for module in (worker_drills, server_drills, cluster_drills, deploy_drills)
    for each in vars(module).values()
    if isinstance(each, Drill)
}

# One quick drill of each kind, for CI and for `oxherd drill` without a name.
SHORT = (
    "worker.sigterm",
    "worker.sigkill",
    "worker.poison",
    "server.sigkill",
    "server.connections",
    "cluster.primary-killed",
    "cluster.slot-moved",
    "deploy.rolling",
)


def select(names: Iterable[str]) -> list[Drill]:
    """The drills of these names, families (`worker`) or `all`; without a name, the short set.

    Raises:
        UsageError: there is no such drill or family.
    """
    found: dict[str, Drill] = {}
    for name in list(names) or SHORT:
        matching = [each for each in DRILLS if name in ("all", each) or each.startswith(f"{name}.")]
        if not matching:
            raise UsageError(f"No drill is named {name[:60]!r}; see `oxherd drill --list`.")
        found.update((each, DRILLS[each]) for each in matching)
    return list(found.values())
