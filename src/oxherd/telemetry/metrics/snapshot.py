"""What a process says of itself when it is asked: JSON, of which that of several processes can be made one."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from typing import Any, Protocol, cast

from oxherd.bullmq.inspection import Backlog
from oxherd.signals import Signals
from oxherd.telemetry.metrics.counts import Counts
from oxherd.worker.health import Health

# What each queue takes at most to tell is a second; a loop that is blocked is not waited for much longer.
_ANSWER_SECONDS = 1.5

Json = dict[str, Any]


class Herd(Protocol):
    """What is asked of an `Oxherd`."""

    @property
    def signals(self) -> Signals: ...
    def health(self) -> Health: ...
    def nodes(self) -> dict[str, bool]: ...
    async def backlogs(self) -> list[tuple[list[str], Backlog | None]]: ...


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A process's numbers, or several processes' together.

    `up`: each queue has told what it holds; `backlogs` are of those that did: waiting, delayed, and the age of the
    oldest that waits, in seconds, or None.
    """

    totals: Json
    health: Json
    nodes: dict[str, bool]
    up: bool
    backlogs: dict[str, list[Any]]


class Observer:
    """Counts a herd's signals, and asks it how it goes, from any thread but the one of its event loop."""

    def __init__(self, herd: Herd) -> None:
        self._herd = herd
        self._counts = Counts()
        self._counts.follow(herd.signals)

    def snapshot(self) -> Snapshot:
        """Everything; takes at most 1.5 seconds, since what Redis has not told by then is left out."""
        told = self._told()
        now = time.time()
        backlogs: dict[str, list[Any]] = {}
        for events, backlog in told or ():
            if backlog is not None:
                age = None if backlog.oldest_ms is None else max(0.0, now - backlog.oldest_ms / 1000)
                backlogs[",".join(events)] = [backlog.waiting, backlog.delayed, age]
        return Snapshot(
            totals=self._counts.read(asdict),
            health=asdict(self._herd.health()),
            nodes=self._herd.nodes(),
            up=bool(told) and len(backlogs) == len(told),
            backlogs=backlogs,
        )

    def _told(self) -> list[tuple[list[str], Backlog | None]] | None:
        loop = self._counts.loop
        if loop is None or not loop.is_running() or _runs_here(loop):
            return None
        asked: Future[list[tuple[list[str], Backlog | None]]] = asyncio.run_coroutine_threadsafe(
            self._herd.backlogs(), loop
        )
        try:
            return asked.result(_ANSWER_SECONDS)
        except Exception:  # noqa: BLE001 - the loop is blocked, or ends: the numbers are left out, and `up` says so
            asked.cancel()
            return None


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def added(one: Any, other: Any) -> Any:
    """Two totals' sum: numbers are added wherever they stand; what only one has is taken over."""
    if isinstance(one, dict):
        left, right = cast("Json", one), cast("Json", other)
        both = {key: added(value, right[key]) if key in right else value for key, value in left.items()}
        return both | {key: value for key, value in right.items() if key not in left}
    if isinstance(one, list):
        return [added(a, b) for a, b in zip(cast("list[Any]", one), cast("list[Any]", other), strict=True)]
    return one + other


def merged(snapshots: list[Snapshot], ended: Json, health: Json) -> Snapshot:
    """Several processes' numbers; `ended` are the totals of those that have ended, `health` is that of them all."""
    totals = ended
    nodes: dict[str, bool] = {}
    backlogs: dict[str, list[Any]] = {}
    for each in snapshots:
        totals = added(totals, each.totals)
        nodes |= {node: up and nodes.get(node, True) for node, up in each.nodes.items()}
        # They all see the same queues.
        backlogs |= each.backlogs
    return Snapshot(totals, health, nodes, bool(snapshots) and all(each.up for each in snapshots), backlogs)


def merged_health(healths: list[Json]) -> Json:
    """Several processes' health, as `Health` has it: live and ready only if each is."""

    def union(key: str) -> list[str]:
        return list(dict.fromkeys(item for health in healths for item in health[key]))

    return {
        "live": all(health["live"] for health in healths),
        "ready": bool(healths) and all(health["ready"] for health in healths),
        "reasons": union("reasons"),
        "events": union("events"),
        "blocked_seconds": max((health["blocked_seconds"] for health in healths), default=0.0),
        "stuck": union("stuck"),
        "outages": union("outages"),
        "stopping": any(health["stopping"] for health in healths),
    }
