"""The queue workers of one event with its shards, or of one queue with its events: they share slots and events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any, Protocol

from oxherd.bullmq.inspection import Backlog, backlog
from oxherd.bullmq.inspection import total as total_backlog
from oxherd.bullmq.pausing import inherit_pause
from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.schedulers import Schedulers
from oxherd.bullmq.shard_registry import ShardRegistry
from oxherd.bullmq.shards import shard_of, shard_queues
from oxherd.bullmq.worker_records import QueueNews
from oxherd.context import Context
from oxherd.declaration import Declaration, key_of
from oxherd.signals import EventAttempt, Signals
from oxherd.worker.background_loop import BackgroundLoop
from oxherd.worker.declared_limits import declare, declare_for_keys
from oxherd.worker.fault_reporter import FaultReporter
from oxherd.worker.fetching.isolation import Isolation
from oxherd.worker.fetching.slots import SlotPool
from oxherd.worker.health import GroupFacts
from oxherd.worker.identity import Identity
from oxherd.worker.queue_worker import QueueWorker
from oxherd.worker.running.execution import Execution
from oxherd.worker.served_events import ServedEvent, ServedEvents
from oxherd.worker.served_queue import ServedQueue
from oxherd.worker.stop_report import StopReport, total
from oxherd.worker.upkeep.heartbeat import Heartbeat
from oxherd.worker.upkeep.pause_reporter import PauseReporter
from oxherd.worker.upkeep.schedule_keeper import ScheduleKeeper
from oxherd.worker.upkeep.shard_watcher import ShardWatcher
from oxherd.worker.upkeep.slot_reclaimer import SlotReclaimer
from oxherd.worker.upkeep.watchdog import Watchdog, WatchdogTimes, WatchedQueue


class Queues(Protocol):
    """What a group needs of a connection."""

    def queue(self, declaration: Declaration) -> BullQueue: ...
    def queue_named(self, name: str) -> BullQueue: ...
    def schedulers(self, queue: BullQueue) -> Schedulers: ...
    def shard_registry(self, declaration: Declaration) -> ShardRegistry: ...


class QueueGroup:
    """Owns the slots, the served events and the watchdog of its queue workers, of which it has one for each shard.

    `declared` returns the declarations of the queue, processed or not.

    Raises:
        ConfigError: the event's queue cannot be used on this server.
    """

    def __init__(
        self,
        queues: Queues,
        declaration: Declaration,
        signals: Signals,
        declared: Callable[[], list[Declaration]],
        isolation: Isolation,
        identity: Identity,
        watchdog_times: WatchdogTimes,
    ) -> None:
        self._queues = queues
        home = self._home = queues.queue(declaration)
        self._first = home.keys.queue
        self._signals = signals
        self._declared = declared
        self._declaration = declaration
        self._isolation = isolation
        self._identity = identity
        self._events = ServedEvents()
        self._slots = SlotPool()
        self._workers: dict[str, QueueWorker] = {}
        self._watchdog = Watchdog(self._first, lambda: self._events.concurrency, watchdog_times)
        self._pause = PauseReporter(self._first, self._events, signals)
        faults = FaultReporter(self._first, signals)
        self._schedules = ScheduleKeeper(home, queues.schedulers(home), self._events, faults)
        self._heartbeat = Heartbeat(home, identity, self._events, self._executions, faults, self._note)
        self._loops: list[BackgroundLoop] = []

    @property
    def events(self) -> list[str]:
        """The names of the served events."""
        return self._events.names

    @property
    def queue(self) -> str:
        """The name of its first queue, or of the one that its events share."""
        return self._declaration.queue

    def add(self, event: ServedEvent) -> None:
        """Serve one more event."""
        self._events.add(event)
        self._slots.resize(self._events.concurrency)
        for worker in self._workers.values():
            worker.relay.start_if_needed()
            worker.fetcher.prepare_again()
        self._heartbeat.beat_now()
        self._schedules.start_if_needed()

    def start(self) -> None:
        """Begin to take events."""
        self._start(self._watchdog)
        self._heartbeat.start()
        self._serve_shards(self._declaration.shards)
        if self._declaration.own_queue:
            registry, faults = self._queues.shard_registry(self._declaration), FaultReporter(self._first, self._signals)
            self._start(ShardWatcher(self._first, registry, faults, self._serve_shards))

    async def stop(self, time_over: asyncio.Event) -> StopReport:
        """Begin nothing more, let running events end until `time_over`, then put back what still runs."""
        for worker in self._workers.values():
            worker.drain()  # before anything is awaited, so that nothing that ends now brings another event
        await asyncio.gather(self._schedules.stop(), *(loop.stop() for loop in self._loops))
        reports = await asyncio.gather(*(worker.stop(time_over) for worker in self._workers.values()))
        await asyncio.gather(self._heartbeat.leave(), *(event.executor.close() for event in self._events))
        return total(reports)

    def interrupt(self) -> None:
        """The loop ends; `stop` follows, also where one was under way."""
        for worker in self._workers.values():
            worker.interrupt()

    async def remove(self, name: str, time_over: asyncio.Event) -> StopReport:
        """Stop one event of several; its jobs wait on the queue from now on."""
        event = self._events.remove(name)
        self._slots.resize(self._events.concurrency)
        reports = [await worker.stop_event(event, time_over) for worker in self._workers.values()]
        await event.executor.close()
        self._heartbeat.beat_now()
        return total(reports)

    @property
    def running(self) -> int:
        """How many events run, or have been fetched and are about to."""
        return sum(len(worker.executions) for worker in self._workers.values())

    @property
    def facts(self) -> GroupFacts:
        """Facts for the health; from any thread."""
        reached = any(worker.fetcher.replies_seen for worker in list(self._workers.values()))
        watchdog = self._watchdog
        return GroupFacts(self.events, reached, watchdog.stuck_seconds, watchdog.hanging, self._pause.paused)

    async def backlog(self) -> Backlog:
        """The backlog of all its queues. Raises RedisUnavailable, ScriptError."""
        queues = [worker.served.queue for worker in self._workers.values()]
        return total_backlog(await asyncio.gather(*map(backlog, queues)))

    def attempt_in(self, task: asyncio.Task[Any]) -> EventAttempt | None:
        """The event that runs in this task, if one of the group's; from any thread."""
        found = (worker.executions.attempt_in(task) for worker in list(self._workers.values()))
        return next((attempt for attempt in found if attempt is not None), None)

    def runs(self, context: Context) -> bool:
        """Whether a handler of the group runs with this context; from any thread."""
        return any(worker.executions.runs(context) for worker in list(self._workers.values()))

    def _executions(self) -> Iterator[Execution]:
        return chain.from_iterable(worker.executions for worker in self._workers.values())

    def _note(self, news: QueueNews) -> None:
        self._pause.note(news.paused)
        if news.has_schedules:
            self._schedules.start_for_others()

    def _start(self, loop: BackgroundLoop) -> None:
        self._loops.append(loop)
        loop.start()

    def _serve_shards(self, shards: int) -> None:
        """Serve the group's first queue and, where it is one event's own, that many shards."""
        for name in (self._first, *shard_queues(self._declaration.name, shards)[1:]):
            if name not in self._workers:
                self._serve(name)

    def _serve(self, name: str) -> None:
        queue = self._queues.queue_named(name)
        served = ServedQueue(
            queue,
            self._queues.schedulers(queue),
            self._signals,
            FaultReporter(name, self._signals),
            self._events,
            self._declared,
            shared=not self._declaration.own_queue,
            ordered=self._declaration.ordered,
            route=self._route if self._declaration.key is not None and self._declaration.shards > 1 else None,
            prepare=partial(self._prepare, queue),
            siblings=lambda: [worker.served.queue for worker in self._workers.values()],
        )
        worker = self._workers[name] = QueueWorker(served, self._slots.queue_slots(), self._isolation, self._identity)
        worker.start()
        self._watchdog.watch(WatchedQueue(served, worker.fetcher, worker.renewer, worker.executions.holding))
        if len(self._workers) == 2:
            # With one queue, slots that wait for its server have no other use.
            self._start(SlotReclaimer(self._first, self._reclaim_slots))

    async def _prepare(self, queue: BullQueue) -> None:
        """What has to be done before the first fetch from a queue. Raises RedisUnavailable, ScriptError."""
        declarations = [event.declaration for event in self._events]
        if queue.keys.queue == self._first:
            await declare(queue, self._declaration, declarations)
        else:
            await inherit_pause(self._home, queue)
            await declare_for_keys(queue, declarations)

    def _route(self, payload: Any) -> BullQueue:
        """The shard of a payload's key."""
        declaration = self._declaration
        key = key_of(declaration, payload)
        shard = 0 if key is None else shard_of(key, declaration.shards)
        return self._queues.queue_named(shard_queues(declaration.name, declaration.shards)[shard])

    def _reclaim_slots(self, silence: float) -> None:
        for worker in self._workers.values():
            worker.reclaim_slots(silence)
