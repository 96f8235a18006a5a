"""One queue's worker: begins jobs as there are places, keeps their locks, and ends in order."""

from __future__ import annotations

import asyncio
import contextvars
import time
from contextlib import suppress
from typing import Any

from oxherd.bullmq.inspection import Backlog, backlog, has_due
from oxherd.bullmq.job import Job, event_id_text
from oxherd.bullmq.replies import Fetched
from oxherd.context import Stopping
from oxherd.errors import RedisUnavailable
from oxherd.redis.blocking_pop import BlockingPop
from oxherd.redis.client import ScriptError
from oxherd.signals import ErrorInfo, EventAttempt
from oxherd.worker.events import ProcessedEvent
from oxherd.worker.fetching.fetcher import Fetcher
from oxherd.worker.fetching.isolation import Isolation
from oxherd.worker.fetching.lock_tokens import LockTokens
from oxherd.worker.fetching.marker_wait import MarkerWait
from oxherd.worker.fetching.slots import QueueSlots
from oxherd.worker.fetching.unresolved_calls import UnresolvedCalls
from oxherd.worker.running.execution import Execution, Stage
from oxherd.worker.running.outcome import Outcome, Write
from oxherd.worker.running.pipeline import Pipeline
from oxherd.worker.running.settling import Settler, Unsettled
from oxherd.worker.served_queue import ServedQueue
from oxherd.worker.stop_report import StopReport, stopped
from oxherd.worker.upkeep.lock_renewer import LockRenewer

# How long what was cancelled at the end of a stop may take to clean up before it counts as stuck.
_CLEAN_UP_SECONDS = 0.5
_LAST_SECONDS = 0.1


class QueueWorker:
    """Processes the events of one queue; `share` is its share of the worker's slots."""

    def __init__(self, served: ServedQueue, share: QueueSlots, isolation: Isolation) -> None:
        self._served = served
        self._queue = served.queue
        self._share = share
        self._running: dict[asyncio.Task[None], Execution] = {}
        self._held_at_stop: list[Execution] = []
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False
        self._replies_before = 0  # of fetch loops that were begun anew since
        self._context_at_start = contextvars.copy_context()
        self._on_end = self._ended  # bound once for all events
        self.faults = served.faults
        self._tokens = LockTokens()
        self._unresolved = UnresolvedCalls(served.queue, served.faults, lambda: [r.job for r in self._running.values()])
        self._settler = Settler(served, self._unresolved, self._running.__len__)
        self._pipeline = Pipeline(served, self._settler, share, isolation)
        self._make_fetcher()
        self._lease = LockRenewer(served, self._unresolved, self._running.values)

    def _make_fetcher(self) -> None:
        self._waiter = BlockingPop(self._queue.client, self._queue.keys.slot, self._queue.keys.marker)
        wait = MarkerWait(self._queue, self._waiter)
        self._fetcher = Fetcher(self._served, wait, self._share, self._tokens, self._unresolved, self._begin)

    def start(self) -> None:
        """Begin to take events."""
        self._context_at_start = contextvars.copy_context()
        self._start_fetching()
        self._start_lease()

    def _start_fetching(self) -> None:
        name = f"oxherd-fetch-{self._queue.keys.queue}"
        self._fetching = asyncio.get_running_loop().create_task(self._fetcher.run(), name=name)

    def _start_lease(self) -> None:
        name = f"oxherd-lease-{self._queue.keys.queue}"
        self._leasing = asyncio.get_running_loop().create_task(self._lease.run(), name=name)

    def drain(self) -> None:
        """Begin nothing more; what is held now is what the stop reports on."""
        self._draining = True
        self._held_at_stop = list(self._running.values())
        for running in self._held_at_stop:
            running.refuse()

    async def stop(self, time_over: asyncio.Event) -> StopReport:
        """After `drain`: let what runs end until `time_over`, then put back what still runs."""
        await self._fetcher.stop()
        await _until(time_over, self._fetching, self._idle)
        if self._running:
            await self._put_back(list(self._running.values()))
        self._fetching.cancel()
        self._leasing.cancel()
        await asyncio.wait([self._fetching, self._leasing])
        unresolved = await self._last_unresolved()
        await self._waiter.close()
        return stopped(self._held_at_stop, unresolved=unresolved)

    async def stop_event(self, processed: ProcessedEvent, time_over: asyncio.Event) -> StopReport:
        """Let one event's running jobs end until `time_over`, then put them back; the other events go on."""
        mine = [running for running in self._running.values() if running.declaration is processed.declaration]
        for running in mine:
            running.refuse()
        over = asyncio.create_task(time_over.wait())
        while (tasks := [running.task for running in mine if not running.task.done()]) and not over.done():
            await asyncio.wait([over, *tasks], return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        await self._put_back([running for running in mine if not running.task.done()])
        return stopped(mine)

    def reclaim_slots(self, older: float) -> None:
        """Let other queues have the places of what has waited for Redis for more than `older` seconds."""
        self._fetcher.lend(older)
        since = time.perf_counter() - older
        for running in self._running.values():
            if running.stage is Stage.SETTLING and running.ended < since and not running.slot_released:
                running.slot_released = True
                running.leave()
                self._share.give()

    def attempt_in(self, task: asyncio.Task[Any]) -> EventAttempt | None:
        """The event that a task processes, where it is one of this queue's; may be called from any thread."""
        running = self._running.get(task)
        if running is None:
            return None
        job = running.job
        return EventAttempt(job.name, event_id_text(self._queue.keys.queue, job.id), job.attempts_made + 1)

    # -- being watched

    @property
    def replies_seen(self) -> int:
        """How often the server has said what there is to begin."""
        return self._replies_before + self._fetcher.replies_seen

    @property
    def holding(self) -> list[Execution]:
        """The events that hold a place of the worker."""
        return [running for running in self._running.values() if not running.slot_released]

    @property
    def progress_not_expected(self) -> bool:
        """Whether nothing can be expected to begin: the worker stops, or its server has an outage."""
        return self._draining or self._queue.client.away(self._queue.keys.slot)

    async def backlog(self) -> Backlog:
        """What there is to be done. Raises RedisUnavailable, ScriptError."""
        return await backlog(self._queue)

    async def has_due(self) -> bool:
        """Whether events wait that are due; raises as `Client.call`."""
        return await has_due(self._queue)

    def fetch_crash(self) -> str | None:
        """What has ended the fetch loop, which nobody stopped."""
        return None if self._draining else _how_ended(self._fetching)

    def ensure_renewer(self) -> None:
        """Begin the loop that keeps the locks anew, where something has ended it."""
        error = None if self._draining else _how_ended(self._leasing)
        if error is not None:
            message = "the loop that renews the locks had ended; it was begun anew"
            self.faults.of_job("lock", ErrorInfo(error, message), None)
            self._start_lease()

    async def restart_fetching(self, *, reconnect: bool) -> None:
        """Begin the fetch loop anew, with a new connection to wait on, and a new one for all calls if `reconnect`; what
        the old loop may have begun is looked for first."""
        old, waiter, task = self._fetcher, self._waiter, self._fetching
        task.cancel()
        await asyncio.wait([task], timeout=_CLEAN_UP_SECONDS)
        await waiter.close()
        if reconnect:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLEAN_UP_SECONDS):
                    await self._queue.client.reconnect(self._queue.keys.slot)
        if not self._draining:
            self._replies_before += old.replies_seen
            self._share.correct(len(self.holding))
            self._make_fetcher()
            self._start_fetching()

    # -- beginning

    def _begin(self, job: Job) -> None:
        # A context of its own for each event: what a handler sets in it must not reach the next.
        running = Execution(job, self._queue.keys.queue)
        context = self._context_at_start.copy()
        task = running.task = asyncio.get_running_loop().create_task(self._process(running), context=context)
        self._running[task] = running
        self._idle.clear()
        if self._draining:
            self._held_at_stop.append(running)
        task.add_done_callback(self._on_end, context=self._context_at_start)

    async def _process(self, running: Execution) -> None:
        if self._draining:
            await self._pipeline.requeue(running)
            return
        try:
            following = await self._pipeline.process(running)
        finally:
            running.leave()
            running.drop_context()
        if isinstance(following, Fetched) and following.job is not None:
            # The next takes this one's place: there is never a moment with one too many.
            del self._running[running.task]
            if running.slot_released:
                self._share.acquire_over_limit()
            self._begin(following.job)

    def _ended(self, task: asyncio.Task[None]) -> None:
        running = self._running.pop(task, None)
        if running is None:
            return  # its place is the next one's, or was given back when it was abandoned
        if not self._running:
            self._idle.set()
        abandoned = running.stage is Stage.ABANDONED
        if not task.cancelled() and (error := task.exception()) is not None:
            abandoned = running.unwritten = True
            self.faults.of_job("finish", ErrorInfo(type(error).__name__, "an error inside oxherd"), running.job)
        if not abandoned and running.job.token not in self._unresolved:
            self._tokens.give_back(running.job.token)
        if not running.slot_released:
            self._share.give()

    # -- ending

    async def _put_back(self, held: list[Execution]) -> None:
        """Cancel what still runs; what cannot be ended is put back all the same."""
        for running in held:
            running.cancel(Stopping())
        await self._cleaned_up(held)
        stuck = [running for running in held if running.stage is Stage.HANDLER]
        await asyncio.gather(*(self._abandon(running) for running in stuck))
        rest = [running for running in held if running.stage is not Stage.ABANDONED and not running.task.done()]
        if rest and self._draining:
            self._settler.abandoned.set()
            await _ended(rest, _LAST_SECONDS)
            for running in rest:
                running.task.cancel()  # in the middle of a call that gets no answer
            await _ended(rest, _CLEAN_UP_SECONDS)

    async def _cleaned_up(self, held: list[Execution]) -> None:
        """Wait until what was cancelled has ended; while Redis is away, for the handlers only."""
        until = time.monotonic() + _CLEAN_UP_SECONDS
        while (left := until - time.monotonic()) > 0:
            away = self._away
            tasks = [r.task for r in held if not r.task.done() and not (away and r.stage is Stage.SETTLING)]
            if not tasks:
                return
            await asyncio.wait(tasks, timeout=min(left, _LAST_SECONDS))

    @property
    def _away(self) -> bool:
        """Whether there is an outage of Redis."""
        return self._queue.client.outages.open

    async def _abandon(self, running: Execution) -> None:
        """Put an event back whose handler goes on: nothing of that run counts any more, and it holds nothing."""
        running.stage = Stage.ABANDONED
        if running.context is not None:
            running.context.abandoned = True
        duration = running.finish()
        del self._running[running.task]
        if not self._running:
            self._idle.set()
        running.leave()
        if not running.slot_released:
            self._share.give()
        try:
            async with asyncio.timeout(_CLEAN_UP_SECONDS):
                settled = await self._settler.settle(running.job, running.declaration, Write.REQUEUE)
        except TimeoutError:
            settled = Unsettled.UNWRITTEN
        running.unwritten = settled is Unsettled.UNWRITTEN
        became = Outcome.LOST if isinstance(settled, Unsettled) else Outcome.REQUEUED
        self._pipeline.end(running, became, duration, None)

    async def _last_unresolved(self) -> int:
        """Put back before the end what nobody runs; how many calls are left of which nobody knows what they began."""
        if self._away:
            return len(self._unresolved)
        try:
            async with asyncio.timeout(_CLEAN_UP_SECONDS):
                await self._unresolved.resolve()
        except (RedisUnavailable, ScriptError, TimeoutError) as error:
            # Their locks run out, and another worker begins them.
            self.faults.lasting("fetch", error)
        return len(self._unresolved)


def _how_ended(task: asyncio.Task[None]) -> str | None:
    """The name of what has ended a task; None while it goes on."""
    if not task.done():
        return None
    error = None if task.cancelled() else task.exception()
    return "CancelledError" if error is None else type(error).__name__


async def _ended(held: list[Execution], seconds: float) -> None:
    tasks = [running.task for running in held if not running.task.done()]
    if tasks:
        await asyncio.wait(tasks, timeout=seconds)


async def _until(time_over: asyncio.Event, task: asyncio.Task[None], idle: asyncio.Event) -> None:
    """Wait until the task has ended and nothing runs, or the time is over."""

    async def ended() -> None:
        await asyncio.wait([task])
        await idle.wait()

    both = [asyncio.ensure_future(ended()), asyncio.ensure_future(time_over.wait())]
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    for future in both:
        future.cancel()
