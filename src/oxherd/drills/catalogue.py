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

# One of each kind that ends within seconds: what CI runs, and `oxherd drill` without a name.
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


def chosen(names: Iterable[str]) -> list[Drill]:
    """The drills that are meant: a name, a family (`worker`), `all`, or nothing, which is the short set.

    Raises:
        UsageError: there is no drill of that name.
    """
    found: dict[str, Drill] = {}
    for name in list(names) or SHORT:
        matching = [each for each in DRILLS if name in ("all", each) or each.startswith(f"{name}.")]
        if not matching:
            raise UsageError(f"No drill is named {name[:60]!r}; `oxherd drill --list` shows them all.")
        found.update((each, DRILLS[each]) for each in matching)
    return list(found.values())
