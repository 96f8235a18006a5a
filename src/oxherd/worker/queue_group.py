"""One event and all of its shards, or one queue and all of its events: queue workers under one budget of places."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from oxherd.bullmq.inspection import Backlog
from oxherd.bullmq.inspection import total as total_backlog
from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.schedulers import Schedulers
from oxherd.bullmq.shard_registry import ShardRegistry
from oxherd.bullmq.shards import shard_of, shard_queues
from oxherd.declaration import Declaration, key_of
from oxherd.signals import EventAttempt, Signals
from oxherd.worker.events import Events, ProcessedEvent
from oxherd.worker.fault_reporter import FaultReporter
from oxherd.worker.fetching.isolation import Isolation
from oxherd.worker.fetching.slots import SlotPool
from oxherd.worker.health import GroupFacts
from oxherd.worker.queue_worker import QueueWorker
from oxherd.worker.served_queue import ServedQueue
from oxherd.worker.stop_report import StopReport, total
from oxherd.worker.upkeep.shard_watcher import ShardWatcher
from oxherd.worker.upkeep.watchdog import Watchdog

# A server that has not answered for so long keeps no places from the queues on other servers.
_LEND_SECONDS = 0.5


class Queues(Protocol):
    """What a group needs of a connection."""

    def queue(self, declaration: Declaration) -> BullQueue: ...
    def queue_named(self, name: str) -> BullQueue: ...
    def schedulers(self, queue: BullQueue) -> Schedulers: ...
    def shard_registry(self, declaration: Declaration) -> ShardRegistry: ...


class QueueGroup:
    """Processes the events that were added: those of one queue, or one event on all of its queues.

    `is_declared` says whether an event of a name is declared for the queue.

    Raises:
        ConfigError: the queue of the first event cannot be used on this server.
    """

    def __init__(
        self,
        queues: Queues,
        declaration: Declaration,
        signals: Signals,
        is_declared: Callable[[str], bool],
        isolation: Isolation,
    ) -> None:
        self._queues = queues
        self._home = queues.queue(declaration).keys.queue
        self._signals = signals
        self._is_declared = is_declared
        self._declaration = declaration
        self._isolation = isolation
        self._events = Events()
        self._places = SlotPool()
        self._workers: dict[str, QueueWorker] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._lending = False
        self._watchdog = Watchdog(lambda: list(self._workers.values()), lambda: self._events.concurrency)

    @property
    def events(self) -> list[str]:
        """The names of the events that are processed."""
        return self._events.names

    def add(self, processed: ProcessedEvent) -> None:
        """Process an event, too."""
        self._events.add(processed)
        self._places.resize(self._events.concurrency)

    def start(self) -> None:
        """Begin to take events."""
        create = asyncio.get_running_loop().create_task
        self._tasks.append(create(self._watchdog.run(), name=f"oxherd-watch-{self._home}"))
        self._serve_shards(self._declaration.shards)
        if self._declaration.own_queue:
            registry = self._queues.shard_registry(self._declaration)
            watcher = ShardWatcher(registry, FaultReporter(self._home, self._signals), self._serve_shards)
            self._tasks.append(create(watcher.run(), name=f"oxherd-shards-{self._home}"))

    async def stop(self, time_over: asyncio.Event) -> StopReport:
        """Take nothing new, let what runs end until `time_over`, then put back what still runs."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        workers = list(self._workers.values())
        for worker in workers:
            worker.drain()
        reports = await asyncio.gather(*(worker.stop(time_over) for worker in workers))
        await asyncio.gather(*(processed.executor.close() for processed in self._events))
        return total(reports)

    async def remove(self, event: str, time_over: asyncio.Event) -> StopReport:
        """Stop one event of several; its jobs wait on the queue from now on."""
        processed = self._events.remove(event)
        self._places.resize(self._events.concurrency)
        reports = [await worker.stop_event(processed, time_over) for worker in self._workers.values()]
        await processed.executor.close()
        return total(reports)

    @property
    def facts(self) -> GroupFacts:
        """How it goes; may be asked from any thread."""
        reached = any(worker.replies_seen for worker in list(self._workers.values()))
        return GroupFacts(self.events, reached, self._watchdog.stuck_seconds, self._watchdog.hanging)

    async def backlog(self) -> Backlog:
        """What there is to be done, on all of its queues. Raises RedisUnavailable, ScriptError."""
        return total_backlog(await asyncio.gather(*(worker.backlog() for worker in self._workers.values())))

    def attempt_in(self, task: asyncio.Task[Any]) -> EventAttempt | None:
        """The event that a task processes, where it is one of these; may be called from any thread."""
        found = (worker.attempt_in(task) for worker in list(self._workers.values()))
        return next((attempt for attempt in found if attempt is not None), None)

    def _serve_shards(self, shards: int) -> None:
        """Serve the first queue of the events and, of one that has a queue of its own, that many shards."""
        for name in (self._home, *shard_queues(self._declaration.name, shards)[1:]):
            self._serve(name)

    def _serve(self, name: str) -> None:
        if name in self._workers:
            return
        queue = self._queues.queue_named(name)
        served = ServedQueue(
            queue,
            self._queues.schedulers(queue),
            self._signals,
            FaultReporter(name, self._signals),
            self._events,
            self._is_declared,
            shared=not self._declaration.own_queue,
            ordered=self._declaration.ordered,
            route=self._route if self._declaration.key is not None and self._declaration.shards > 1 else None,
        )
        worker = self._workers[name] = QueueWorker(served, self._places.queue_slots(), self._isolation)
        worker.start()
        if len(self._workers) > 1 and not self._lending:
            # From now on, one server's silence could hold up the queues on another.
            self._lending = True
            lending = asyncio.get_running_loop().create_task(self._lend(), name=f"oxherd-lend-{self._home}")
            self._tasks.append(lending)

    def _route(self, payload: Any) -> BullQueue:
        """The queue of a payload's key."""
        declaration = self._declaration
        key = key_of(declaration, payload)
        shard = 0 if key is None else shard_of(key, declaration.shards)
        return self._queues.queue_named(shard_queues(declaration.name, declaration.shards)[shard])

    async def _lend(self) -> None:
        """Keep a server that does not answer from holding the places of queues on others."""
        while True:
            await asyncio.sleep(_LEND_SECONDS)
            for worker in self._workers.values():
                worker.reclaim_slots(_LEND_SECONDS)
