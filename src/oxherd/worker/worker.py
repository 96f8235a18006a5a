"""The worker of a herd: all events that it processes in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from functools import partial
from typing import Any

from oxherd.bullmq.inspection import Backlog
from oxherd.context import Context
from oxherd.declaration import Declaration
from oxherd.errors import RedisUnavailable
from oxherd.redis.client import ScriptError
from oxherd.signals import EventAttempt, Signals
from oxherd.worker.fetching.isolation import isolation_of_loop
from oxherd.worker.health import Facts
from oxherd.worker.identity import Identity
from oxherd.worker.queue_group import QueueGroup, Queues
from oxherd.worker.served_events import ServedEvent
from oxherd.worker.stop_report import StopReport, total
from oxherd.worker.upkeep.loop_monitor import LoopMonitor
from oxherd.worker.upkeep.watchdog import WatchdogTimes

_BACKLOG_SECONDS = 1.0


class Worker:
    """Owns one queue group for each queue name, and what is one for the process: loop monitor and isolation.

    `declared` returns the declarations of a queue, processed or not; `version` is the application's.
    """

    def __init__(
        self,
        signals: Signals,
        declared: Callable[[str], list[Declaration]],
        watchdog_times: WatchdogTimes,
        version: str | None = None,
    ) -> None:
        self._signals = signals
        self._declared = declared
        self._watchdog_times = watchdog_times
        self._version = version
        self._identity = Identity(version)
        self._groups: dict[str, QueueGroup] = {}
        self._stopping: list[QueueGroup] = []
        self._loop_monitor: LoopMonitor | None = None

    def __contains__(self, name: str) -> bool:
        """Whether an event is processed."""
        return name in self.events

    @property
    def events(self) -> list[str]:
        """The names of the events that are processed."""
        return [name for group in self._groups.values() for name in group.events]

    @property
    def idle(self) -> bool:
        """Whether no event is processed, nor any being stopped."""
        return not self._groups and not self._stopping

    def start(self, queues: Queues, events: Iterable[ServedEvent]) -> None:
        """Begin to process events that are not processed yet."""
        if self._loop_monitor is None:
            self._loop_monitor = LoopMonitor(self._signals.emit, self._attempt_in)
            self._loop_monitor.start()
        isolation = isolation_of_loop()
        for event in events:
            isolation.serve(event.declaration.lock_ms / 1000)
            queue = event.declaration.queue
            group = self._groups.get(queue)
            if group is not None:
                group.add(event)
                continue
            declared = partial(self._declared, queue)
            identity, times = self._identity_on(queue), self._watchdog_times
            group = QueueGroup(queues, event.declaration, self._signals, declared, isolation, identity, times)
            self._groups[queue] = group
            group.add(event)
            group.start()

    @property
    def running(self) -> int:
        """How many events run, or have been fetched and are about to."""
        return sum(group.running for group in (*self._groups.values(), *self._stopping))

    @property
    def facts(self) -> Facts:
        """Facts for the health; from any thread."""
        monitor, stopping = self._loop_monitor, list(self._stopping)
        groups = list(self._groups.values())
        return Facts(
            groups=[group.facts for group in groups or stopping],
            blocked_seconds=monitor.blocked_seconds if monitor is not None else 0.0,
            stopping=bool(stopping) and not groups,
        )

    async def backlogs(self) -> list[tuple[list[str], Backlog | None]]:
        """The backlog of each group, with its events' names; None where Redis does not answer within a second."""
        groups = list(self._groups.values())
        return list(zip([group.events for group in groups], await asyncio.gather(*map(_backlog, groups)), strict=True))

    async def stop(self, names: Iterable[str], time_over: asyncio.Event) -> StopReport | None:
        """Stop the named events, one queue after the other; None if none of them was processed.

        What still runs when `time_over` is set is put back.
        """
        reports: list[StopReport] = []
        for name in names:
            queue = next((queue for queue, group in self._groups.items() if name in group.events), None)
            if queue is None:
                continue
            group = self._groups[queue]
            if group.events == [name]:
                reports += await self._stop_groups([group], time_over)
            else:
                reports.append(await group.remove(name, time_over))
        return total(reports) if reports else None

    async def stop_all(self, time_over: asyncio.Event) -> StopReport | None:
        """Stop every event at once; what still runs when `time_over` is set is put back."""
        reports = await self._stop_groups(list(self._groups.values()), time_over)
        return total(reports) if reports else None

    def interrupt(self) -> None:
        """The loop ends, and with it all tasks are being cancelled; `end` follows."""
        for group in (*self._groups.values(), *self._stopping):
            group.interrupt()

    async def end(self) -> tuple[list[str], StopReport | None]:
        """Put back at once what runs, and what a stop that was cut off has left; returns the events, and the report."""
        time_over = asyncio.Event()
        time_over.set()
        groups = [*self._groups.values(), *self._stopping]
        names = [name for group in groups for name in group.events]
        reports = await self._stop_groups(groups, time_over)
        return names, total(reports) if reports else None

    def forget(self) -> None:
        """The loop was closed: what ran in it is begun again once its lock has run out."""
        self._stop_loop_monitor()

    async def _stop_groups(self, groups: list[QueueGroup], time_over: asyncio.Event) -> list[StopReport]:
        self._groups = {queue: group for queue, group in self._groups.items() if group not in groups}
        self._stopping += [group for group in groups if group not in self._stopping]
        # Cut off with its loop, they are still stopping: `end` finishes that.
        reports = await asyncio.gather(*(group.stop(time_over) for group in groups))
        self._stopping = [group for group in self._stopping if group not in groups]
        if self.idle:
            self._stop_loop_monitor()
        return reports

    def _identity_on(self, queue: str) -> Identity:
        # Beside a group that still stops, the same name would have one of them put back what the other runs.
        stopping = any(group.queue == queue for group in self._stopping)
        return Identity(self._version) if stopping else self._identity

    def _stop_loop_monitor(self) -> None:
        monitor, self._loop_monitor = self._loop_monitor, None
        if monitor is not None:
            monitor.stop()

    def runs(self, context: Context) -> bool:
        """Whether a handler runs with this context; from any thread."""
        return any(group.runs(context) for group in [*self._groups.values(), *self._stopping])

    def _attempt_in(self, task: asyncio.Task[Any]) -> EventAttempt | None:
        found = (group.attempt_in(task) for group in [*self._groups.values(), *self._stopping])
        return next((attempt for attempt in found if attempt is not None), None)


async def _backlog(group: QueueGroup) -> Backlog | None:
    try:
        async with asyncio.timeout(_BACKLOG_SECONDS):
            return await group.backlog()
    except (TimeoutError, RedisUnavailable, ScriptError):  # if it is an outage, it is reported as one
        return None


@contextmanager
def time_limit(seconds: float) -> Generator[asyncio.Event]:
    """An event that is set in `seconds`, or never once the block is left."""
    over = asyncio.Event()
    timer = asyncio.get_running_loop().call_later(seconds, over.set)
    try:
        yield over
    finally:
        timer.cancel()
