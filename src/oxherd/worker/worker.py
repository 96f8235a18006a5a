"""All that a herd processes: the groups of its events, begun and ended together or one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from functools import partial
from typing import Any

from oxherd.bullmq.inspection import Backlog
from oxherd.errors import RedisUnavailable
from oxherd.redis.client import ScriptError
from oxherd.redis.outage import Outages
from oxherd.signals import EventAttempt, Signals
from oxherd.worker.events import ProcessedEvent
from oxherd.worker.fetching.isolation import Isolation
from oxherd.worker.health import Facts, Health, judge
from oxherd.worker.queue_group import QueueGroup, Queues
from oxherd.worker.stop_report import StopReport, total
from oxherd.worker.upkeep.loop_monitor import LoopMonitor

_ANSWER_SECONDS = 1.0


class Worker:
    """The groups that run.

    `is_declared` says whether an event of a name (the second) is declared for a queue (the first).
    """

    def __init__(self, signals: Signals, outages: Outages, is_declared: Callable[[str, str], bool]) -> None:
        self._signals = signals
        self._outages = outages
        self._is_declared = is_declared
        self._groups: dict[str, QueueGroup] = {}
        self._ending: list[QueueGroup] = []
        self._loop_watch: LoopMonitor | None = None
        self._isolation = Isolation()

    def __contains__(self, name: str) -> bool:
        """Whether an event is processed."""
        return any(name in group.events for group in self._groups.values())

    @property
    def events(self) -> list[str]:
        """The names of the events that are processed."""
        return [name for group in self._groups.values() for name in group.events]

    def start(self, queues: Queues, started: Iterable[ProcessedEvent]) -> None:
        """Begin to process events that are not processed yet."""
        if self._loop_watch is None:
            self._loop_watch = LoopMonitor(self._signals.emit, self._attempt_in)
            self._loop_watch.start()
        for processed in started:
            queue = processed.declaration.queue
            group = self._groups.get(queue)
            if group is not None:
                group.add(processed)
                continue
            is_declared = partial(self._is_declared, queue)
            group = QueueGroup(queues, processed.declaration, self._signals, is_declared, self._isolation)
            self._groups[queue] = group
            group.add(processed)
            group.start()

    def health(self) -> Health:
        """How it goes; may be asked from any thread."""
        watch, ending = self._loop_watch, list(self._ending)
        groups = list(self._groups.values())
        return judge(
            Facts(
                groups=[group.facts for group in groups or ending],
                blocked_seconds=watch.blocked_seconds if watch is not None else 0.0,
                outages=self._outages.nodes(),
                stopping=bool(ending) and not groups,
            )
        )

    async def backlogs(self) -> list[tuple[list[str], Backlog | None]]:
        """What there is to be done, by the names of the events that share it; None where Redis does not tell within
        a second."""
        groups = list(self._groups.values())
        return list(zip([group.events for group in groups], await asyncio.gather(*map(_backlog, groups)), strict=True))

    async def stop(self, names: Iterable[str], time_over: asyncio.Event) -> StopReport | None:
        """Stop the named events, one after the other; the others go on. None where none of them was processed."""
        reports: list[StopReport] = []
        for name in names:
            queue = next((queue for queue, group in self._groups.items() if name in group.events), None)
            if queue is None:
                continue
            group = self._groups[queue]
            if group.events == [name]:
                reports += await self._end([queue], time_over)
            else:
                reports.append(await group.remove(name, time_over))
        return total(reports) if reports else None

    async def stop_all(self, time_over: asyncio.Event) -> StopReport | None:
        """Stop every event, all at the same time; what still runs once `time_over` is set is put back."""
        reports = await self._end(list(self._groups), time_over)
        return total(reports) if reports else None

    async def _end(self, queues: list[str], time_over: asyncio.Event) -> list[StopReport]:
        ending = [self._groups.pop(queue) for queue in queues]
        self._ending += ending
        try:
            return await asyncio.gather(*(group.stop(time_over) for group in ending))
        finally:
            self._ending = [group for group in self._ending if group not in ending]
            if self._loop_watch is not None and not self._groups and not self._ending:
                self._loop_watch.stop()
                self._loop_watch = None

    def _attempt_in(self, task: asyncio.Task[Any]) -> EventAttempt | None:
        found = (group.attempt_in(task) for group in [*self._groups.values(), *self._ending])
        return next((attempt for attempt in found if attempt is not None), None)


async def _backlog(group: QueueGroup) -> Backlog | None:
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            return await group.backlog()
    except (TimeoutError, RedisUnavailable, ScriptError):  # reported as an outage, if it is one
        return None


@contextmanager
def time_limit(seconds: float) -> Generator[asyncio.Event]:
    """An event that is set `seconds` from now, if it is still of use then."""
    over = asyncio.Event()
    timer = asyncio.get_running_loop().call_later(seconds, over.set)
    try:
        yield over
    finally:
        timer.cancel()
