"""One queue's worker: from fetched job to settled outcome, and an orderly end."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pydantic_core import to_json

from oxherd.context import Context, Stopping
from oxherd.declaration import Declaration, Handler
from oxherd.errors import InvalidPayload, OxherdError, RedisUnavailable
from oxherd.queue.finish_many import FinishMany
from oxherd.queue.job import Job, event_id_text
from oxherd.queue.queue import BullQueue, Fetched
from oxherd.queue.schedulers import Schedulers
from oxherd.redis.client import ScriptError
from oxherd.redis.waiter import Waiter
from oxherd.sanitize import Sanitizer
from oxherd.schedule.scheduler import next_tick_ms
from oxherd.signals import ErrorInfo, EventBegan, EventEnded, Signals
from oxherd.worker.executors import Executor, executor_for
from oxherd.worker.failure import describe_failure
from oxherd.worker.faults import QueueFaults
from oxherd.worker.fetch import Fetcher
from oxherd.worker.lease import Lease
from oxherd.worker.outcome import WRITES, Ended, Outcome, Write, outcome
from oxherd.worker.running import Run, Running, Stage, execute
from oxherd.worker.settle import Settler, attempts_of

# How long what was cancelled at the end of a stop may take to clean up before it counts as stuck.
_CLEAN_UP_SECONDS = 0.5
# How long a job of an event that is known but not processed here waits until it is offered again.
_ELSEWHERE_MS = 5_000
_STALLED_REASON = "job stalled more than allowable limit"  # BullMQ's own words


@dataclass(slots=True)
class Processed:
    """An event that this worker processes."""

    declaration: Declaration
    handler: Handler
    sanitizer: Sanitizer[Any]
    executor: Executor = field(init=False)
    gate: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self.gate = asyncio.Semaphore(self.declaration.concurrency)
        self.executor = executor_for(self.declaration, self.handler)


@dataclass(slots=True)
class Stopped:
    """What became of the events that were running when a stop began; `stuck` says that a handler could not be ended."""

    drained: int = 0
    requeued: int = 0
    stranded: int = 0
    stuck: bool = False


class QueueWorker:
    """Processes the events of one queue."""

    def __init__(
        self, queue: BullQueue, schedulers: Schedulers, signals: Signals, known: Iterable[str], *, together: bool
    ) -> None:
        self._queue = queue
        self._schedulers = schedulers
        self._signals = signals
        self._known = known
        self._events: dict[str, Processed] = {}
        self._running: dict[asyncio.Task[None], Running] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False
        self._outcomes: list[Outcome] = []
        self._context_at_start = contextvars.copy_context()
        name = queue.keys.queue
        self._faults = QueueFaults(name, signals)
        many = FinishMany(queue) if together else None
        self._settler = Settler(queue, self._faults, self._lock_ms, many)
        self._waiter = Waiter(queue.client, queue.keys.slot, queue.keys.marker)
        self._fetcher = Fetcher(
            queue,
            self._waiter,
            self._faults,
            room=self._room,
            begin=self._begin,
            recover=self._requeue_orphans,
            doubtful=self._settler.doubtful,
            lock_ms=self._lock_ms,
        )
        self._lease = Lease(queue, self._faults, self._running.values, self._lock_ms, self._stalls)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def events(self) -> list[str]:
        """The names of the events that are processed."""
        return list(self._events)

    def add(self, processed: Processed) -> None:
        """Process an event, too."""
        self._events[processed.declaration.name] = processed
        self._fetcher.freed(None)

    def start(self) -> None:
        """Begin to take events."""
        self._context_at_start = contextvars.copy_context()
        create = asyncio.get_running_loop().create_task
        name = self._queue.keys.queue
        self._tasks = [
            create(self._fetcher.run(), name=f"oxherd-fetch-{name}"),
            create(self._lease.run(), name=f"oxherd-lease-{name}"),
        ]

    async def stop(self, time_over: asyncio.Event) -> Stopped:
        """Take nothing new, let what runs end until `time_over`, then put back what still runs."""
        self._draining = True
        self._outcomes.clear()
        fetching, lease = self._tasks
        await self._fetcher.stop()
        await _until(time_over, fetching, self._idle)
        stuck: list[Running] = []
        if self._running:
            stuck = await self._put_back()
        fetching.cancel()
        lease.cancel()
        await asyncio.wait([fetching, lease])
        if self._settler.doubtful and not self._settler.abandoned.is_set():
            await self._last_orphans()
        await self._waiter.close()
        await asyncio.gather(*(processed.executor.close() for processed in self._events.values()))
        lost = self._outcomes.count(Outcome.LOST)
        requeued = self._outcomes.count(Outcome.REQUEUED)
        return Stopped(len(self._outcomes) - lost - requeued, requeued, lost, bool(stuck))

    async def remove(self, event: str, time_over: asyncio.Event) -> Stopped:
        """Stop one event of several; its jobs wait on the queue from now on."""
        processed = self._events.pop(event)
        mine = [running for running in self._running.values() if running.declaration is processed.declaration]
        tasks = [running.task for running in mine]
        over = asyncio.create_task(time_over.wait())
        while any(not task.done() for task in tasks) and not over.done():
            await asyncio.wait([over, *(task for task in tasks if not task.done())], return_when="FIRST_COMPLETED")
        over.cancel()
        for running in mine:
            running.cancel(Stopping())
        pending = [task for task in tasks if not task.done()]
        if pending:
            await asyncio.wait(pending, timeout=_CLEAN_UP_SECONDS)
        stuck = [running for running in mine if running.stage is Stage.HANDLER]
        await asyncio.gather(*(self._abandon(running) for running in stuck))
        await processed.executor.close()
        return Stopped(drained=len(mine) - len(pending), requeued=len(pending), stuck=bool(stuck))

    # -- beginning

    def _room(self) -> int:
        if self._draining:
            return 0
        return sum(processed.declaration.concurrency for processed in self._events.values()) - len(self._running)

    def _begin(self, job: Job) -> None:
        # A context of its own for each event: what a handler sets in it must not reach the next.
        task = asyncio.get_running_loop().create_task(self._process(job), context=self._context_at_start.copy())
        self._running[task] = Running(job, task)
        self._idle.clear()
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        running = self._running.get(task)
        if running is None:
            return  # it has handed its place to the next
        self._release(running)
        if not self._running:
            self._idle.set()
        abandoned = running.stage is Stage.ABANDONED
        if not task.cancelled() and (error := task.exception()) is not None:
            abandoned = True
            self._faults.of_job("finish", ErrorInfo(type(error).__name__, "an error inside oxherd"), running.job)
        self._fetcher.freed(None if abandoned else running.job.token)

    def _release(self, running: Running) -> None:
        del self._running[running.task]

    async def _process(self, job: Job) -> None:
        running = self._running[asyncio.current_task()]  # pyright: ignore[reportArgumentType]
        if self._draining:
            await self._settler.settle(job, None, Write.REQUEUE)
            return
        processed = self._events.get(job.name)
        if job.scheduler is not None:
            await self._advance(job)
        if processed is None and job.name in self._known and job.damage is None:
            await self._settler.persist(job, partial(self._queue.delay, job, _ELSEWHERE_MS, [], skip_attempt=True))
            return
        error = self._unfit(job, processed)
        payload: Any = None
        if error is None and processed is not None:
            try:
                payload = processed.declaration.payload.decode(job.data)
            except InvalidPayload as invalid:
                error = ("data", ErrorInfo("InvalidPayload", str(invalid)))
        if error is not None or processed is None:
            next_ = await self._refuse(job, processed, *(error or ("data", ErrorInfo("UnknownEvent", ""))))
        else:
            next_ = await self._run(running, processed, payload)
        if next_ is not None and next_.job is not None:
            # The next takes this one's place: there is never a moment with one too many.
            self._release(running)
            self._begin(next_.job)

    def _unfit(self, job: Job, processed: Processed | None) -> tuple[str, ErrorInfo] | None:
        """Why a job is not given to a handler, with the fault's source."""
        if job.damage is not None or job.options.damaged:
            return "data", ErrorInfo("DamagedJob", f"the job cannot be read: {job.damage or 'its options are damaged'}")
        if processed is None:
            return "data", ErrorInfo("UnknownEvent", "no event of the job's name is declared for this queue")
        if job.deferred_failure is not None or job.stalled > processed.declaration.stalls:
            return "stalled", ErrorInfo("Stalled", _STALLED_REASON)
        return None

    async def _refuse(self, job: Job, processed: Processed | None, source: str, error: ErrorInfo) -> Fetched | None:
        """Send a job to failed without running it."""
        self._faults.of_job(source, error, job)
        declaration = processed.declaration if processed is not None else None
        return await self._settler.settle(job, declaration, Write.FAIL, error=error, fetch_next=self._wants_next())

    # -- running

    async def _run(self, running: Running, processed: Processed, payload: Any) -> Fetched | None:
        if len(self._events) == 1:
            return await self._run_gated(running, processed, payload)
        async with processed.gate:
            return await self._run_gated(running, processed, payload)

    async def _run_gated(self, running: Running, processed: Processed, payload: Any) -> Fetched | None:
        job, declaration = running.job, processed.declaration
        context = running.context = self._context(job)
        running.declaration = declaration
        shown = running.shown = processed.sanitizer.shown(payload)
        if shown.withheld is not None:
            self._faults.of_job("sanitize", ErrorInfo(shown.withheld, "the payload is withheld from the log"), job)
        emit = self._signals.emit
        emit(EventBegan(declaration.name, context.text, context.attempt, context.fence, shown))
        running.began = time.perf_counter()
        run = await execute(running, processed.executor.call, payload, declaration.timeout)
        if running.stage is Stage.ABANDONED:
            return None
        duration = running.duration_ms
        attempts_left = job.attempts_made + 1 < attempts_of(job, declaration)
        became = outcome(run.ended, attempts_left=attempts_left)
        error = None if run.error is None and run.ended is Ended.RETURNED else self._error(running, run, processed)
        fetched = await self._settler.settle(
            job,
            declaration,
            WRITES[became],
            result=run.result,
            error=error,
            fetch_next=self._wants_next(),
        )
        if running.stage is Stage.ABANDONED:  # pyright: ignore[reportUnnecessaryComparison] - set while we waited
            return fetched
        if fetched is None:
            became = Outcome.LOST
        self._end(running, became, duration, error)
        return fetched

    def _error(self, running: Running, run: Run, processed: Processed) -> ErrorInfo:
        reason = running.context.cancelled if running.context is not None else None
        fields = processed.declaration.payload.field_names
        return describe_failure(run.error, reason, running.job.data, running.shown, fields)

    def _end(self, running: Running, became: Outcome, duration: float, error: ErrorInfo | None) -> None:
        context = running.context
        assert context is not None  # noqa: S101 - it began
        if self._draining:
            self._outcomes.append(became)
        self._signals.emit(
            EventEnded(context.event, context.text, context.attempt, context.fence, became.value, duration, error)
        )

    def _context(self, job: Job) -> Context:
        return Context(
            text=event_id_text(self._queue.keys.queue, job.id),
            event=job.name,
            attempt=job.attempts_made + 1,
            fence=max(1, job.fence),
            emitted_ms=job.timestamp_ms,
            report=partial(self._progress, job),
        )

    async def _progress(self, job: Job, value: Any) -> None:
        try:
            await self._queue.progress(job, to_json(value, inf_nan_mode="null"))
        except (ValueError, ScriptError) as error:
            raise OxherdError(f"The progress could not be stored ({type(error).__name__}); pass JSON.") from None

    async def _advance(self, job: Job) -> None:
        """A tick has begun: the next one is stored before anything else, so that no death breaks the chain."""
        try:
            upcoming = next_tick_ms(job)
            if upcoming is not None:
                await self._schedulers.advance(job, upcoming)
        except (OxherdError, ScriptError) as error:
            self._faults.of_job("schedule", ErrorInfo(type(error).__name__, str(error)), job)

    # -- ending

    async def _put_back(self) -> list[Running]:
        """Cancel what still runs; what cannot be ended is put back all the same, and returned."""
        for running in list(self._running.values()):
            running.cancel(Stopping())
        await _wait_event(self._idle, _CLEAN_UP_SECONDS)
        stuck = [running for running in self._running.values() if running.stage is Stage.HANDLER]
        await asyncio.gather(*(self._abandon(running) for running in stuck))
        if any(running.stage is not Stage.ABANDONED for running in self._running.values()):
            self._settler.abandoned.set()
            await _wait_event(self._idle, _CLEAN_UP_SECONDS)
        return stuck

    async def _abandon(self, running: Running) -> None:
        running.stage = Stage.ABANDONED
        duration = running.duration_ms
        try:
            async with asyncio.timeout(_CLEAN_UP_SECONDS):
                done = await self._settler.settle(running.job, running.declaration, Write.REQUEUE)
        except TimeoutError:
            done = None
        self._end(running, Outcome.LOST if done is None else Outcome.REQUEUED, duration, None)

    async def _requeue_orphans(self) -> None:
        """Put back the jobs that were begun by calls whose answers were lost; nobody runs them."""
        doubtful = set(self._settler.doubtful)
        here = {running.job.id for running in self._running.values()}
        for job_id, token in await self._queue.orphans(doubtful):
            if job_id not in here:
                await self._queue.requeue(job_id, token)
        self._settler.doubtful -= doubtful

    async def _last_orphans(self) -> None:
        try:
            async with asyncio.timeout(_CLEAN_UP_SECONDS):
                await self._requeue_orphans()
        except (RedisUnavailable, TimeoutError) as error:
            # Their locks run out, and another worker begins them.
            self._faults.lasting("fetch", error)

    def _wants_next(self) -> bool:
        return not self._draining and self._room() >= 0

    def _lock_ms(self) -> int:
        # The shortest of the queue's locks keeps each event's promise to be begun again in time.
        return min((processed.declaration.lock_ms for processed in self._events.values()), default=30_000)

    def _stalls(self) -> int:
        return max((processed.declaration.stalls for processed in self._events.values()), default=1)


async def _wait_event(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


async def _until(time_over: asyncio.Event, task: asyncio.Task[None], idle: asyncio.Event) -> None:
    """Wait until the task has ended and nothing runs, or the time is over."""

    async def ended() -> None:
        await asyncio.wait([task])
        await idle.wait()

    both = [asyncio.ensure_future(ended()), asyncio.ensure_future(time_over.wait())]
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    for future in both:
        future.cancel()
