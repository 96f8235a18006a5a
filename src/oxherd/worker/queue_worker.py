"""One queue's worker: its fetcher, the executions that it begins, and the renewer of their locks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from oxherd.errors import RedisUnavailable
from oxherd.redis.client import ScriptError
from oxherd.worker.executions import Executions
from oxherd.worker.fetching.fetcher import Fetcher
from oxherd.worker.fetching.isolation import Isolation
from oxherd.worker.fetching.slots import QueueSlots
from oxherd.worker.identity import Identity
from oxherd.worker.running.execution import Execution
from oxherd.worker.served_events import ServedEvent
from oxherd.worker.served_queue import ServedQueue
from oxherd.worker.stop_report import StopReport, report_on
from oxherd.worker.stop_requeue import CLEAN_UP_SECONDS, StopRequeue
from oxherd.worker.upkeep.cancel_watcher import CancelWatcher
from oxherd.worker.upkeep.lock_renewer import LockRenewer
from oxherd.worker.upkeep.presence import Presence
from oxherd.worker.upkeep.relay import Relay


class QueueWorker:
    """Owns the parts that serve one queue, and stops them in order; `slots` are the queue's own."""

    def __init__(self, served: ServedQueue, slots: QueueSlots, isolation: Isolation, identity: Identity) -> None:
        self.served = served
        executions = self.executions = Executions(served, slots, isolation, identity)
        self._unresolved = executions.unresolved
        self.fetcher = Fetcher(served, slots, executions.tokens, self._unresolved, executions.begin)
        self.renewer = LockRenewer(served, self._unresolved, executions)
        self._cancel_watcher = CancelWatcher(served, executions.busy, executions)
        self._presence = Presence(served.queue.keys.queue, self.fetcher)
        self.relay = Relay(served)
        self._stop_requeue = StopRequeue(served.queue, executions)

    def start(self) -> None:
        """Begin to take events."""
        self.fetcher.start()
        self.renewer.start()
        self._presence.start()
        self._cancel_watcher.start()
        self.relay.start_if_needed()

    def drain(self) -> None:
        """Begin nothing more; may be called again."""
        self.executions.drain()

    def interrupt(self) -> None:
        """The loop ends, as `Executions.interrupt`; `stop` follows, also where one was under way."""
        self.executions.interrupt()

    async def stop(self, time_over: asyncio.Event) -> StopReport:
        """Begin nothing more, let running events end until `time_over`, then put back what still runs."""
        self.drain()
        await self.fetcher.drain()
        await _first(time_over.wait(), self._drained())
        left = list(self.executions)
        await self._stop_requeue.requeue(left)
        await self._stop_requeue.put_back_cut_off(self.executions.held_at_drain)
        await self._stop_requeue.give_up(left)
        await self.relay.finish(CLEAN_UP_SECONDS)
        await self._presence.stop()
        await self._cancel_watcher.stop()
        await self.fetcher.stop()
        await self.renewer.stop()
        return report_on(self.executions.held_at_drain, unresolved=await self._last_unresolved())

    async def stop_event(self, event: ServedEvent, time_over: asyncio.Event) -> StopReport:
        """Let one event's jobs end until `time_over`, then put back what still runs; the other events go on."""
        mine = [execution for execution in self.executions if execution.declaration is event.declaration]
        for execution in mine:
            execution.refuse()
        await _first(time_over.wait(), _ended(mine))
        await self._stop_requeue.requeue([execution for execution in mine if not execution.task.done()])
        for execution in mine:
            # Its outcome is still being written, as long as the other events' worker goes on.
            execution.unwritten = execution.unwritten or not execution.task.done()
        return report_on(mine)

    def reclaim_slots(self, silence: float) -> None:
        """Lend to other queues the slots that have waited for Redis for `silence` seconds."""
        self.fetcher.reclaim_slots(silence)
        self.executions.reclaim_slots(time.perf_counter() - silence)

    async def _drained(self) -> None:
        await self.fetcher.join()
        await self.executions.idle.wait()

    async def _last_unresolved(self) -> int:
        """Resolve calls once more, if Redis answers; returns how many are left."""
        if not self.served.queue.client.outages.open:
            try:
                async with asyncio.timeout(CLEAN_UP_SECONDS):
                    await self._unresolved.resolve()
            except (RedisUnavailable, ScriptError, TimeoutError) as error:
                # The locks run out, and another worker begins the jobs.
                self.served.faults.lasting("fetch", error)
        return len(self._unresolved)


async def _first(*waits: Coroutine[Any, Any, Any]) -> None:
    """Wait until one of several has ended."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


async def _ended(executions: list[Execution]) -> None:
    if executions:
        await asyncio.wait([execution.task for execution in executions])
