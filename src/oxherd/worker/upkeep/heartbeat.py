"""Keeps a worker's record in the registry of one queue or shard group, and takes it out at a stop."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from oxherd.bullmq.clock import now_ms
from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.worker_info import MAX_RUNNING, WorkerRecord
from oxherd.bullmq.worker_records import QueueNews, beat, remove
from oxherd.errors import RedisUnavailable
from oxherd.redis.client import ScriptError
from oxherd.redis.retry import retry
from oxherd.worker.background_loop import BackgroundLoop
from oxherd.worker.fault_reporter import FaultReporter
from oxherd.worker.identity import Identity
from oxherd.worker.running.execution import Execution
from oxherd.worker.served_events import ServedEvents

# Three may be missed before the worker counts as gone.
_BEAT_SECONDS = 5.0
_LEAVE_SECONDS = 0.5


class Heartbeat(BackgroundLoop):
    """Writes who the worker is and what it runs, every five seconds, to a group's first queue.

    `executions` returns those of all its queues; `note` is told what is new of the first.
    """

    def __init__(
        self,
        queue: BullQueue,
        identity: Identity,
        events: ServedEvents,
        executions: Callable[[], Iterable[Execution]],
        faults: FaultReporter,
        note: Callable[[QueueNews], None],
    ) -> None:
        super().__init__(f"oxherd-heartbeat-{queue.keys.queue}")
        self._queue = queue
        self._identity = identity
        self._events = events
        self._executions = executions
        self._faults = faults
        self._note = note
        self._since_ms = now_ms()
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Beat until cancelled, through outages."""
        while True:
            self._changed.clear()
            try:
                self._note(await retry(lambda: beat(self._queue, self._record())))
            except ScriptError as error:
                self._faults.lasting("registry", error)
            else:
                self._faults.mended("registry")
            with suppress(TimeoutError):
                async with asyncio.timeout(_BEAT_SECONDS):
                    await self._changed.wait()

    def beat_now(self) -> None:
        """Say at once that other events are processed than before."""
        self._changed.set()

    async def leave(self) -> None:
        """Stop, and take the worker out of the registry; where Redis does not answer, its record expires."""
        await self.stop()
        if not self._queue.client.has_outage(self._queue.keys.slot):
            try:
                async with asyncio.timeout(_LEAVE_SECONDS):
                    await remove(self._queue, self._identity.id)
            except ScriptError as error:
                self._faults.lasting("registry", error)
            except (RedisUnavailable, TimeoutError):  # reported as an outage, if it is one
                pass

    def _record(self) -> WorkerRecord:
        identity, now, clock = self._identity, now_ms(), time.perf_counter()
        runs = [run for execution in self._executions() if (run := execution.run) is not None]
        return WorkerRecord(
            id=identity.id,
            host=identity.host,
            pid=identity.pid,
            version=identity.version,
            events=self._events.names,
            since_ms=self._since_ms,
            running=[
                (run.context.event, run.context.event_id, now - round((clock - run.began_at) * 1000))
                for run in heapq.nsmallest(MAX_RUNNING, runs, key=lambda run: run.began_at)
            ],
            running_count=len(runs),
            clock_ms=now,
        )
