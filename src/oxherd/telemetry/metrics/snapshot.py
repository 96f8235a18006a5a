"""A process's numbers at one moment, as JSON, and how those of several processes are merged."""

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

# A queue has a second to answer; a blocked loop is not waited for much longer.
_BACKLOG_SECONDS = 1.5

Json = dict[str, Any]


class Herd(Protocol):
    """What an observer needs of an `Oxherd`."""

    @property
    def signals(self) -> Signals: ...
    def health(self) -> Health: ...
    def nodes(self) -> dict[str, bool]: ...
    async def backlogs(self) -> list[tuple[list[str], Backlog | None]]: ...


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The numbers of a process, or of several.

    `up`: every queue has answered. `backlogs` holds those that did, by the names of their events: waiting, delayed, and
    the age of the oldest waiting event in seconds, or None.
    """

    totals: Json
    health: Json
    nodes: dict[str, bool]
    up: bool
    backlogs: dict[str, list[Any]]


class Observer:
    """Counts a herd's signals, and takes snapshots, from any thread but that of its event loop."""

    def __init__(self, herd: Herd) -> None:
        self._herd = herd
        self._counts = Counts()
        self._counts.follow(herd.signals)

    def snapshot(self) -> Snapshot:
        """Take a snapshot, in at most 1.5 seconds; leaves out what Redis has not answered by then."""
        answers = self._ask_backlogs()
        now = time.time()
        backlogs: dict[str, list[Any]] = {}
        for events, backlog in answers or ():
            if backlog is not None:
                age = None if backlog.oldest_ms is None else max(0.0, now - backlog.oldest_ms / 1000)
                backlogs[",".join(events)] = [backlog.waiting, backlog.delayed, age]
        return Snapshot(
            totals=self._counts.read(asdict),
            health=asdict(self._herd.health()),
            nodes=self._herd.nodes(),
            up=bool(answers) and len(backlogs) == len(answers),
            backlogs=backlogs,
        )

    def _ask_backlogs(self) -> list[tuple[list[str], Backlog | None]] | None:
        loop = self._counts.loop
        if loop is None or not loop.is_running() or _runs_here(loop):
            return None
        future: Future[list[tuple[list[str], Backlog | None]]] = asyncio.run_coroutine_threadsafe(
            self._herd.backlogs(), loop
        )
        try:
            return future.result(_BACKLOG_SECONDS)
        except Exception:  # noqa: BLE001 - the loop is blocked or ending, which `up` shows
            future.cancel()
            return None


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def added(one: Any, other: Any) -> Any:
    """Add two totals, number by number; what only one of them has is taken over."""
    if isinstance(one, dict):
        left, right = cast("Json", one), cast("Json", other)
        both = {key: added(value, right[key]) if key in right else value for key, value in left.items()}
        return both | {key: value for key, value in right.items() if key not in left}
    if isinstance(one, list):
        return [added(a, b) for a, b in zip(cast("list[Any]", one), cast("list[Any]", other), strict=True)]
    return one + other


def merged(snapshots: list[Snapshot], ended: Json, health: Json) -> Snapshot:
    """Merge the snapshots of several processes; `ended` are the totals of processes that have ended, `health` is theirs
    together."""
    totals = ended
    nodes: dict[str, bool] = {}
    backlogs: dict[str, list[Any]] = {}
    for each in snapshots:
        totals = added(totals, each.totals)
        nodes |= {node: up and nodes.get(node, True) for node, up in each.nodes.items()}
        backlogs |= each.backlogs  # all see the same queues
    return Snapshot(totals, health, nodes, bool(snapshots) and all(each.up for each in snapshots), backlogs)


def merged_health(healths: list[Json]) -> Json:
    """Merge the `Health` of several processes: live and ready only if each is."""

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
        "paused": union("paused"),
    }
