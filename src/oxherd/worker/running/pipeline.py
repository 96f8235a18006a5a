"""One job's way: fit for a handler, run, outcome written, end said."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from pydantic_core import to_json

from oxherd.bullmq.clock import now_ms
from oxherd.bullmq.job import STALLED_REASON, Job, NewJob, event_id_text
from oxherd.bullmq.options import without_metadata
from oxherd.bullmq.replies import Fetched
from oxherd.bullmq.schedule_ticks import next_tick_ms
from oxherd.context import Context, LockLost
from oxherd.declaration import Declaration, is_name
from oxherd.errors import InvalidPayload, OxherdError, RedisUnavailable
from oxherd.redis.client import ScriptError
from oxherd.redis.retry import retry
from oxherd.signals import ErrorInfo, EventBegan, EventEnded
from oxherd.worker.fault_reporter import damaged_job
from oxherd.worker.fetching.isolation import Isolation, Suspect
from oxherd.worker.fetching.slots import QueueSlots
from oxherd.worker.running.execution import Execution, Run, Stage, execute
from oxherd.worker.running.failure import describe_failure
from oxherd.worker.running.job_options import attempts_of
from oxherd.worker.running.outcome import WRITES, Ended, Outcome, Write, outcome
from oxherd.worker.running.settling import UNCOMPLETED, Settler, Unsettled
from oxherd.worker.served_events import ServedEvent
from oxherd.worker.served_queue import Route, ServedQueue

# How long a job that is for other workers waits until it is offered again: the more often it came to the wrong one, the
# longer.
_ELSEWHERE_MS = (250, 500, 1_000, 2_000, 5_000)
# How long a name that no event has may be that of a newer version's event: a deploy is over by then.
_NEWER_MS = 600_000
_MOST_NAMES = 64
# How long a job for which there is no place, and no room to wait, waits until it is offered again.
_CROWDED_MS = 1_000
# What BullMQ itself writes; other words stay in Redis.
_CHILD_FAILED = re.compile(r"child \S{1,300} failed")
_DEFERRED = "another program lets it fail"


class Pipeline:
    """What is done with each job of a queue.

    `share` says whether there is a slot for the job that follows a finished one; `isolation` lets those run alone that
    a worker has died over.
    """

    def __init__(self, served: ServedQueue, settler: Settler, share: QueueSlots, isolation: Isolation) -> None:
        self._served = served
        self._queue = served.queue
        self._signals = served.signals
        self._faults = served.faults
        self._events = served.events
        self._settler = settler
        self._share = share
        self._isolation = isolation
        self._unknown: set[str] = set()
        self._loop = asyncio.get_running_loop()
        self._report = self._progress  # bound once for all events

    async def process(self, running: Execution) -> Fetched | Unsettled:
        """From a fetched job to its settled outcome; answers the job that follows, if one was begun.

        The caller lets the job leave what it has entered, whatever happens here.
        """
        job = running.job
        processed = self._events.get(job.name)
        if job.scheduler is not None and not await self._advance(job):
            return await self.requeue(running)
        if processed is None and job.damage is None and (self._served.is_declared(job.name) or self._may_be_newer(job)):
            return await self._settler.postpone(job, _ELSEWHERE_MS[min(max(job.fence, 1), len(_ELSEWHERE_MS)) - 1])
        error = self._unfit(job, processed)
        payload: Any = None
        if error is None and processed is not None:
            try:
                running.data = processed.declaration.payload.open(job.data)
                payload = processed.declaration.payload.decode(running.data)
            except InvalidPayload as invalid:
                error = ("data", ErrorInfo(type(invalid).__name__, str(invalid)))
        if error is not None or processed is None:
            return await self._refuse(job, processed, *(error or ("data", ErrorInfo("UnknownEvent", ""))))
        if job.scheduler is not None and self._served.route is not None:
            return await self._forward(running, processed, payload, self._served.route)
        running.declaration = processed.declaration
        kept_out = await self._admit(running, processed)
        if kept_out is not None:
            return kept_out
        return await self._run(running, processed, payload)

    async def requeue(self, running: Execution) -> Fetched | Unsettled:
        """Put a job back that has not begun."""
        settled = await self._settler.settle(running.job, None, Write.REQUEUE)
        running.unwritten = settled is Unsettled.UNWRITTEN
        return settled

    def end(self, running: Execution, became: Outcome, duration_ms: float, error: ErrorInfo | None) -> None:
        """Say what became of an event that began."""
        context = running.context
        assert context is not None  # noqa: S101 - it began
        running.outcome = became
        carrier = context.carrier
        ended = EventEnded(
            context.event, context.text, context.attempt, context.fence, became.value, duration_ms, error,
            carrier.caused_by, carrier.root,
        )  # fmt: skip
        self._signals.emit(ended)
        if running.handling is not None:
            running.handling.ended(ended)

    # -- before the handler

    def _unfit(self, job: Job, processed: ServedEvent | None) -> tuple[str, ErrorInfo] | None:
        """Why a job is not given to a handler, with the fault's source."""
        if job.damage is not None or job.options.damaged:
            return "data", damaged_job(job.damage or "its options are damaged")
        if processed is None:
            return "data", ErrorInfo("UnknownEvent", "no event of the job's name is declared for this queue")
        if job.deferred_failure not in (None, STALLED_REASON):
            known = job.deferred_failure if _CHILD_FAILED.fullmatch(job.deferred_failure or "") else None
            return "finish", ErrorInfo("DeferredFailure", known or _DEFERRED)
        if job.deferred_failure is not None or job.stalled > processed.declaration.max_stalls:
            return "stalled", ErrorInfo("Stalled", STALLED_REASON)
        return None

    def _may_be_newer(self, job: Job) -> bool:
        """Whether another version's worker may know the job's name, while a deploy goes on; said once for each name."""
        if not self._served.shared or not is_name(job.name) or now_ms() - job.timestamp_ms > _NEWER_MS:
            return False
        if job.name not in self._unknown and len(self._unknown) < _MOST_NAMES:
            self._unknown.add(job.name)
            message = "no event of the job's name is declared for this queue; it is offered to other workers meanwhile"
            self._faults.of_job("data", ErrorInfo("UnknownEvent", message), job)
        return True

    async def _refuse(
        self, job: Job, processed: ServedEvent | None, source: str, error: ErrorInfo
    ) -> Fetched | Unsettled:
        """Send a job to failed without running it."""
        self._faults.of_job(source, error, job)
        if job.unusable:
            return await self._settler.quarantine(job, job.damage or "")
        declaration = processed.declaration if processed is not None else None
        if error.message is _DEFERRED:
            error = ErrorInfo(error.type, job.deferred_failure or "")
        return await self._settler.settle(
            job, declaration, Write.FAIL, error=error, fetch_next=self._share.may_continue()
        )

    async def _advance(self, job: Job) -> bool:
        """A tick has begun: the next one is stored before anything else, so that no death breaks the chain.

        False when the worker's time is over before that is done.
        """

        async def advance() -> None:
            upcoming = next_tick_ms(job)
            if upcoming is not None:
                await self._served.schedulers.advance(job, upcoming)

        try:
            return await self._until_confirmed(advance)
        except (OxherdError, ScriptError) as error:
            self._faults.of_job("schedule", ErrorInfo(type(error).__name__, str(error)), job)
        return True

    async def _forward(
        self, running: Execution, processed: ServedEvent, payload: Any, route: Route
    ) -> Fetched | Unsettled:
        """Hand a tick to the shard of its key, where it takes its place among that key's events."""
        job, declaration = running.job, processed.declaration
        event_id = event_id_text(self._queue.keys.queue, job.id)
        _, metadata = without_metadata(job.written_options)
        options, once_ms = declaration.options, declaration.once_ms
        new = NewJob(event_id, declaration.name, job.data, options, once_ms=once_ms, metadata=metadata)

        async def hand_over() -> None:
            await route(payload).add(new, deadline=time.monotonic())

        try:
            # Meanwhile others have its place: the server of that shard may be away, and those of others are not.
            with self._without_place(running):
                handed_over = await self._until_confirmed(hand_over)
        except (OxherdError, ScriptError) as error:
            return await self._refuse(job, processed, "schedule", ErrorInfo(type(error).__name__, str(error)))
        if not handed_over:
            return await self.requeue(running)
        return await self._settler.settle(job, declaration, Write.COMPLETE, fetch_next=self._share.may_continue())

    async def _until_confirmed(self, step: Callable[[], Awaitable[None]]) -> bool:
        """Do a step until Redis confirms it; False when the worker's time is over before that."""
        try:
            await retry(step, pause=self._settler.over)
        except RedisUnavailable:  # reported as an outage
            return False
        return True

    async def _admit(self, running: Execution, processed: ServedEvent) -> Fetched | Unsettled | None:
        """None once the handler may begin; else what became of the job, which was put back."""
        limiter = processed.limiter
        if not limiter.locked():
            await limiter.acquire()
            running.limiter = limiter
        elif processed.waiting >= processed.declaration.concurrency:
            # More would keep the other events of the queue away.
            return await self._settler.postpone(running.job, _CROWDED_MS)
        else:
            # Meanwhile the other events of the queue, if any, have its slot.
            with self._without_place(running) if len(self._events) > 1 else nullcontext():
                processed.waiting += 1
                try:
                    if await running.wait(asyncio.ensure_future(limiter.acquire())):
                        running.limiter = limiter
                finally:
                    processed.waiting -= 1
        if running.limiter is None or not await self._enter(running, processed.declaration):
            return await self.requeue(running)
        running.isolation = self._isolation
        return await self.requeue(running) if running.refused else None

    async def _enter(self, running: Execution, declaration: Declaration) -> bool:
        """Count the handler as running, alone where the event's next stall would be its last."""
        job, isolation = running.job, self._isolation
        if not job.stalled or job.stalled < declaration.max_stalls:
            return isolation.try_enter() or await isolation.enter(running.wait)
        suspect = running.suspect = Suspect(
            declaration.lock_ms / 1000,
            job.uncounted_stalls,
            record=partial(self._mark_begin, running),
            erase=partial(self._mark_begin, running, None),
        )
        return await isolation.enter_in_turn(suspect, running.wait)

    async def _mark_begin(self, running: Execution, alone: bool | None) -> bool:
        """Note how a job is begun; False where it is not ours, or the worker's time is over before that is done."""

        async def mark() -> None:
            if not await self._queue.mark_begin(running.job, alone=alone):
                running.refuse()

        try:
            return await self._until_confirmed(mark) and not running.refused
        except ScriptError as error:
            self._faults.lasting("stalled", error, running.job)
            return False

    @contextmanager
    def _without_place(self, running: Execution) -> Generator[None]:
        running.slot_released = True
        self._share.release()
        try:
            yield
        finally:
            self._share.acquire_over_limit()
            running.slot_released = False

    # -- the handler, and after it

    async def _run(self, running: Execution, processed: ServedEvent, payload: Any) -> Fetched | Unsettled:
        job, declaration = running.job, processed.declaration
        context = running.context = self._context(running)
        shown = running.shown = processed.sanitizer.shown(payload)
        if shown.withheld is not None:
            self._faults.of_job("sanitize", ErrorInfo(shown.withheld, "the payload is withheld from the log"), job)
        context.withheld = (running.data, shown.json, declaration.payload.field_names)
        carrier = context.carrier
        self._signals.emit(
            EventBegan(
                declaration.name, context.text, context.attempt, context.fence, shown, job.due_ms,
                carrier.caused_by, carrier.root,
            )
        )  # fmt: skip
        running.began = time.perf_counter()
        if self._signals.tracer is not None:
            running.handling = self._signals.tracer.handling(context)
        run = await execute(running, processed.executor.call, payload, declaration.timeout)
        if running.stage is Stage.ABANDONED:
            return Unsettled.LOST
        duration = running.finish()
        attempts_left = job.attempts_made + 1 < attempts_of(job, declaration)
        became = outcome(run.ended, attempts_left=attempts_left)
        error = None if run.error is None and run.ended is Ended.RETURNED else self._error(running, run)
        settled = await self._settler.settle(
            job,
            declaration,
            WRITES[became],
            result=run.result,
            error=error,
            fetch_next=self._share.may_continue(),
        )
        if isinstance(settled, Unsettled) and settled in UNCOMPLETED:
            # A failure of the run like any other, as for Node's worker.
            ended, error = UNCOMPLETED[settled]
            became = outcome(ended, attempts_left=attempts_left)
            write, may_continue = WRITES[became], self._share.may_continue()
            settled = await self._settler.settle(job, declaration, write, error=error, fetch_next=may_continue)
        if isinstance(settled, Unsettled):
            running.unwritten = settled is Unsettled.UNWRITTEN
            became = Outcome.LOST
        self.end(running, became, duration, error)
        return settled

    def _error(self, running: Execution, run: Run) -> ErrorInfo:
        context = running.context
        assert context is not None and context.redactor is not None  # noqa: S101, PT018 - it began
        return describe_failure(run.error, context.cancelled, context.redactor)

    def _context(self, running: Execution) -> Context:
        job = running.job
        return Context(
            text=event_id_text(self._queue.keys.queue, job.id),
            event=job.name,
            attempt=job.attempts_made + 1,
            fence=max(1, job.fence),
            emitted_ms=job.timestamp_ms,
            report=partial(self._report, running),
            loop=self._loop,
            carrier=job.carrier,
        )

    async def _progress(self, running: Execution, value: Any) -> None:
        try:
            answer = await self._queue.progress(running.job, to_json(value, inf_nan_mode="null"))
        except (ValueError, ScriptError) as error:
            raise OxherdError(f"The progress could not be stored ({type(error).__name__}); pass JSON.") from None
        if answer < 0:
            running.cancel(LockLost())
            raise OxherdError("The progress is not stored: the event was given to another worker; end the handler.")
