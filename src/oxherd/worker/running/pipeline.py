"""One job's way, from top to bottom: checked, admitted, run, its outcome written and announced."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

from oxherd.bullmq.clock import now_ms
from oxherd.bullmq.expiry import options_of_forwarded
from oxherd.bullmq.job import Job, NewJob
from oxherd.bullmq.options import without_metadata
from oxherd.bullmq.per_key import key_job
from oxherd.bullmq.replies import Fetched
from oxherd.bullmq.schedule_ticks import next_tick_ms
from oxherd.context import Context
from oxherd.declaration import Declaration, is_name, limit_key_of
from oxherd.errors import InvalidPayload, OxherdError, RedisUnavailable, UsageError
from oxherd.redis.client import ScriptError
from oxherd.redis.retry import retry
from oxherd.signals import CancelledBeforeBegin, ErrorInfo, EventBegan, EventEnded, ResultDropped
from oxherd.worker.failures import Told
from oxherd.worker.fetching.isolation import Isolation
from oxherd.worker.fetching.slots import QueueSlots
from oxherd.worker.job_options import attempts_of, retry_delay_ms
from oxherd.worker.running.candidate import Candidate
from oxherd.worker.running.execution import Execution, HandlerRun, Stage
from oxherd.worker.running.expiry import Expiry
from oxherd.worker.running.failure import cancelled_error
from oxherd.worker.running.missed_ticks import MissedTicks
from oxherd.worker.running.outcome import Outcome, Write, ending_of
from oxherd.worker.running.problem import Problem, problem_of
from oxherd.worker.running.reports import Reports
from oxherd.worker.running.run_record import runs_with
from oxherd.worker.running.settling import UNCOMPLETED, Settler, Unsettled
from oxherd.worker.served_events import ServedEvent
from oxherd.worker.served_queue import Route, ServedQueue

# A job for other workers is offered again after so long, by how often it has come to the wrong one.
_ELSEWHERE_MS = (250, 500, 1_000, 2_000, 5_000)
# An unknown name may be a newer version's event for as long as a deploy takes.
_DEPLOY_MS = 600_000
_MAX_UNKNOWN_NAMES = 64
# A tick whose next one cannot be told is offered again after so long, doubled up to an hour.
_UNREADABLE_MS = 60_000
_LONGEST_UNREADABLE_MS = 3_600_000
# A job that finds its event's limiter and the queue for it full is offered again after so long.
_CROWDED_MS = 1_000


class Pipeline:
    """Processes the jobs of one queue; `slots` say whether a finished job makes room for a next one."""

    def __init__(self, served: ServedQueue, settler: Settler, slots: QueueSlots, isolation: Isolation) -> None:
        self._served = served
        self._queue = served.queue
        self._signals = served.signals
        self._faults = served.faults
        self._events = served.events
        self._counts = served.counts
        self._settler = settler
        self._slots = slots
        self._expiry = Expiry(served, settler, slots)
        self._missed = MissedTicks(served, settler.pause)
        self._isolation = isolation
        self._unknown: set[str] = set()
        self._loop = asyncio.get_running_loop()
        self._reports = Reports(served.queue)  # one for all runs

    async def process(self, execution: Execution) -> Fetched | Unsettled:
        """Take a job to its settled outcome; returns the job that follows, if the same script began one.

        The caller releases what the execution holds, whatever happens here.
        """
        job = execution.job
        processed = self._events.get(job.name)
        if job.scheduler is not None:
            put_back = await self._store_next_tick(execution)
            if put_back is not None:
                return put_back
        if processed is None and job.damage is None and self._may_be_for_others(job):
            return await self._settler.postpone(job, _ELSEWHERE_MS[min(max(job.fence, 1), len(_ELSEWHERE_MS)) - 1])
        declaration = None if processed is None else processed.declaration
        problem = problem_of(job, declaration)
        if job.cancel_reason is not None and declaration is not None and job.damage is None:
            return await self._end_cancelled(execution, declaration)
        if problem is not None:
            return await self._fail(job, declaration, problem)
        assert processed is not None and declaration is not None  # noqa: S101, PT018 - else there was a problem
        may_be_late = job.options.expires_ms or job.scheduler is not None
        if may_be_late and (dropped := await self._drop_late(execution, declaration)) is not None:
            return dropped
        try:
            data = declaration.payload.open(job.data)
            payload = declaration.payload.decode(data)
        except InvalidPayload as error:
            return await self._fail(job, declaration, Problem("data", _info(error)))
        if job.scheduler is not None and self._served.route is not None:
            return await self._forward_tick(execution, declaration, payload, self._served.route)
        execution.declaration = declaration
        put_back = await self._admit(execution, processed, payload)
        if put_back is not None:
            return put_back
        run = self._begin(execution, processed, data, payload)
        await run.execute(processed.executor.call, payload, declaration.timeout)
        return await self.conclude(execution, run, declaration)

    # -- jobs that are not run here

    async def requeue(self, execution: Execution) -> Fetched | Unsettled:
        """Put back a job that has not begun."""
        settled = await self._settler.settle(execution.job, None, Write.REQUEUE)
        execution.unwritten = settled is Unsettled.UNWRITTEN
        return settled

    async def _fail(self, job: Job, declaration: Declaration | None, problem: Problem) -> Fetched | Unsettled:
        """Send a job to failed without running it."""
        self._faults.of_job(problem.source, problem.error, job)
        if job.unusable:
            return await self._settler.quarantine(job, job.damage or "")
        error, fetch_next = problem.stored or problem.error, self._slots.may_continue()
        told = Told(problem.error, job.attempts_made)
        settled = await self._settler.settle(
            job, declaration, Write.FAIL, error=error, told=told, fetch_next=fetch_next
        )
        if declaration is not None and not isinstance(settled, Unsettled):
            self._counts[declaration.name].failed()
        return settled

    async def _end_cancelled(self, execution: Execution, declaration: Declaration) -> Fetched | Unsettled:
        """End a job without running it, which was cancelled while it ran or waited for its children."""
        job = execution.job
        settled = await self._settler.settle_cancelled(job, declaration, fetch_next=self._slots.may_continue())
        if isinstance(settled, Unsettled):
            execution.unwritten = settled is Unsettled.UNWRITTEN
        else:
            # Without the reason: any program may have written that field.
            self._signals.emit(CancelledBeforeBegin(job.name, execution.event_id, job.attempts_made + 1))
        return settled

    async def _drop_late(self, execution: Execution, declaration: Declaration) -> Fetched | Unsettled | None:
        """Drop an event that has expired, or a tick that is not to be made up for; None if it may begin."""
        if execution.job.scheduler is not None:
            try:
                late = await self._missed.late_ms(execution)
            except RedisUnavailable:  # reported as an outage
                return await self.requeue(execution)
            if late:
                return await self._expiry.drop(execution, declaration, late)
        return await self._expiry.drop_late(execution, declaration)

    def _may_be_for_others(self, job: Job) -> bool:
        """Whether another worker may know a job that none of the events here does."""
        if any(each.name == job.name for each in self._served.declared()):
            return True
        if not self._served.shared or not is_name(job.name) or now_ms() - job.timestamp_ms > _DEPLOY_MS:
            return False
        if job.name not in self._unknown and len(self._unknown) < _MAX_UNKNOWN_NAMES:
            self._unknown.add(job.name)
            message = "no event of the job's name is declared for this queue; it is offered to other workers meanwhile"
            self._faults.of_job("data", ErrorInfo("UnknownEvent", message), job)
        return True

    # -- schedules

    async def _store_next_tick(self, execution: Execution) -> Fetched | Unsettled | None:
        """Store a schedule's next tick, before anything else: no death may break the chain.

        None once it is stored; else what became of this one, which was put back.
        """
        job = execution.job

        async def advance() -> None:
            upcoming = next_tick_ms(job)
            if upcoming is not None:
                await self._served.schedulers.advance(job, upcoming)

        try:
            return None if await self._until_confirmed(advance) else await self.requeue(execution)
        except (OxherdError, ScriptError) as error:
            self._faults.of_job("schedule", _info(error), job)
        if job.damage is not None or job.options.damaged:
            return None  # it fails
        try:
            if not await retry(lambda: self._served.schedulers.is_latest(job), pause=self._settler.pause):
                return None
        except RedisUnavailable:  # reported as an outage
            return await self.requeue(execution)
        except ScriptError:  # reported above
            pass
        # Kept until somebody mends the schedule, or a worker that can read it begins the tick: it would be the last.
        delay = min(_UNREADABLE_MS * 2 ** min(max(job.fence, 1) - 1, 10), _LONGEST_UNREADABLE_MS)
        return await self._settler.postpone(job, delay, keeps_turn=False)

    async def _forward_tick(
        self, execution: Execution, declaration: Declaration, payload: Any, route: Route
    ) -> Fetched | Unsettled:
        """Move a tick to the shard of its key, where it lines up with that key's events."""
        job = execution.job
        _, metadata = without_metadata(job.written_options)
        options, once_ms = options_of_forwarded(job, declaration.options), declaration.once_ms
        new = NewJob(execution.event_id, declaration.name, job.data, options, once_ms=once_ms, metadata=metadata)

        async def add() -> None:
            keyed = replace(new, limit_key=limit_key_of(declaration, payload))
            await route(payload).add(keyed, deadline=time.monotonic())

        try:
            # That shard's server may be away while those of others are not.
            with self._slot_released(execution):
                added = await self._until_confirmed(add)
        except (OxherdError, ScriptError) as error:
            return await self._fail(job, declaration, Problem("schedule", _info(error)))
        if not added:
            return await self.requeue(execution)
        return await self._settler.settle(job, declaration, Write.COMPLETE, fetch_next=self._slots.may_continue())

    async def _until_confirmed(self, step: Callable[[], Awaitable[None]]) -> bool:
        """Retry a step until Redis confirms it; False if the worker gives up first."""
        try:
            await retry(step, pause=self._settler.pause)
        except RedisUnavailable:  # reported as an outage
            return False
        return True

    # -- admission

    async def _admit(self, execution: Execution, processed: ServedEvent, payload: Any) -> Fetched | Unsettled | None:
        """None once the handler may begin; else what became of the job, which was put back."""
        job, declaration = execution.job, processed.declaration
        if not job.limit_key and declaration.limits.per_key is not None:
            put_back = await self._note_key(job, declaration, payload)
            if put_back is not None:
                return put_back
        limiter, admission = processed.limiter, execution.admission
        if limiter.try_acquire():
            admission.limiter = limiter
        elif processed.waiting >= declaration.concurrency:
            # More would keep the queue's other events away.
            return await self._settler.postpone(job, _CROWDED_MS)
        else:
            # The queue's other events, if any, may use the slot meanwhile.
            with self._slot_released(execution) if len(self._events) > 1 else nullcontext():
                processed.waiting += 1
                try:
                    if await admission.wait(limiter.acquire_in_turn()):
                        admission.limiter = limiter
                finally:
                    processed.waiting -= 1
        if admission.limiter is None:
            return await self._refused(execution, declaration)
        if (job.stalled or not self._isolation.try_enter()) and not await self._enter_isolation(execution, declaration):
            return await self._refused(execution, declaration)
        admission.isolation = self._isolation
        if admission.refused:
            return await self._refused(execution, declaration)
        return await self._expiry.begin(execution, declaration) if job.options.expires_ms else None

    async def _note_key(self, job: Job, declaration: Declaration, payload: Any) -> Fetched | Unsettled | None:
        """Put back a job of whose key nobody has known yet; None if it has none."""
        try:
            limit_key = limit_key_of(declaration, payload)
        except UsageError as error:
            return await self._fail(job, declaration, Problem("data", _info(error)))
        if not limit_key:
            return None
        step = partial(key_job, self._queue, job, limit_key)
        return await self._settler.retry_until_confirmed(job, lambda _: step(), leaves_running=True)

    async def _refused(self, execution: Execution, declaration: Declaration) -> Fetched | Unsettled:
        if execution.job.cancel_reason is not None:
            return await self._end_cancelled(execution, declaration)
        return await self.requeue(execution)

    async def _enter_isolation(self, execution: Execution, declaration: Declaration) -> bool:
        """Count the handler as running: in a turn of its own if the event's next stall would be its last."""
        job, isolation = execution.job, self._isolation
        if job.stalled and job.stalled >= declaration.max_stalls:
            candidate = execution.admission.suspect = Candidate(execution, self._queue, self._faults)
            return await isolation.enter_in_turn(candidate)
        return await isolation.enter(Candidate(execution, self._queue, self._faults))

    @contextmanager
    def _slot_released(self, execution: Execution) -> Generator[None]:
        execution.slot_released = True
        self._slots.release()
        try:
            yield
        finally:
            self._slots.acquire_over_limit()
            execution.slot_released = False

    # -- the handler, and its outcome

    async def conclude(self, execution: Execution, run: HandlerRun, declaration: Declaration) -> Fetched | Unsettled:
        """Write and announce what became of a run; returns as `process`."""
        job = execution.job
        if execution.stage is Stage.ABANDONED:
            return Unsettled.LOST
        attempts_left = job.attempts_made + 1 < attempts_of(job, declaration)
        end, error = run.end, run.error
        if run.dropped is not None:
            self._signals.emit(ResultDropped(job.name, execution.event_id, run.context.attempt, run.dropped))
        if declaration.result.is_sealed:
            run.result = declaration.result.seal(run.result, job.id)
        while True:
            outcome, write = ending_of(end, attempts_left=attempts_left)
            delay_ms = self._delay_ms(run, declaration) if outcome is Outcome.RETRYING else None
            # BullMQ's own fields say it of one that completes.
            runs = "" if write is Write.COMPLETE else runs_with(job, run, outcome, error)
            settled = await self._settler.settle(
                job, declaration, write, result=run.result, error=error, outcome=outcome,
                delay_ms=delay_ms or 0, told=error and _told(job, outcome, error), runs=runs,
                fetch_next=self._slots.may_continue(),
            )  # fmt: skip
            if not isinstance(settled, Unsettled) or settled not in UNCOMPLETED:
                break
            # It fails like any other run, as with Node's worker.
            end, error = UNCOMPLETED[settled]
        if settled is Unsettled.CANCELLED:
            outcome, error, delay_ms = Outcome.CANCELLED, cancelled_error(job.cancel_reason or ""), None
            runs, fetch_next = runs_with(job, run, outcome, error), self._slots.may_continue()
            settled = await self._settler.settle_cancelled(job, declaration, fetch_next=fetch_next, runs=runs)
        if isinstance(settled, Unsettled):
            execution.unwritten = settled is Unsettled.UNWRITTEN
            outcome, delay_ms = Outcome.LOST, None
        self.announce_end(execution, run, outcome, error, delay_ms)
        return settled

    def _delay_ms(self, run: HandlerRun, declaration: Declaration) -> int:
        """Milliseconds before the event is tried again."""
        job, verdict = run.execution.job, run.verdict
        if verdict.fault is not None:
            self._faults.once("finish", ErrorInfo("BackoffError", verdict.fault), job)
        return retry_delay_ms(job, declaration) if verdict.delay_ms is None else verdict.delay_ms

    def _begin(self, execution: Execution, processed: ServedEvent, data: bytes, payload: Any) -> HandlerRun:
        job, declaration = execution.job, processed.declaration
        context = Context(
            event_id=execution.event_id,
            event=job.name,
            attempt=job.attempts_made + 1,
            fence=max(1, job.fence),
            emitted_ms=job.timestamp_ms,
            reports=(self._reports, execution),
            loop=self._loop,
            lineage=job.lineage,
        )
        shown = processed.sanitizer.show(payload)
        if shown.withheld is not None:
            self._faults.of_job("sanitize", ErrorInfo(shown.withheld, "the payload is withheld from the log"), job)
        context.withheld = (data, shown.json, processed.sanitizer.privacy_for(payload))
        lineage = context.lineage
        began = EventBegan(
            declaration.name, context.event_id, context.attempt, context.fence, shown, job.due_ms,
            lineage.caused_by, lineage.root,
        )  # fmt: skip
        self._signals.emit(began)
        self._counts[declaration.name].began(began.due_ms if context.attempt == 1 else 0)
        run = execution.run = HandlerRun(execution, context, declaration.max_payload)
        if self._signals.tracer is not None:
            run.span = self._signals.tracer.start_process(context)
        return run

    def announce_end(
        self,
        execution: Execution,
        run: HandlerRun,
        outcome: Outcome,
        error: ErrorInfo | None,
        retry_in_ms: int | None = None,
    ) -> None:
        """Signal what became of an event that began."""
        execution.outcome = outcome
        context = run.context
        lineage = context.lineage
        ran_ms = (run.ended_at - run.began_at) * 1000
        ended = EventEnded(
            context.event, context.event_id, context.attempt, context.fence, outcome.value,
            ran_ms, error, lineage.caused_by, lineage.root, retry_in_ms,
        )  # fmt: skip
        self._counts[context.event].ended(ended.outcome, ran_ms)
        self._signals.emit(ended)
        if run.span is not None:
            run.span.end(ended)


def _told(job: Job, outcome: Outcome, error: ErrorInfo) -> Told | None:
    """What an event's `on_failed` is told of a run that fails it for good; nothing where somebody cancelled it."""
    return None if outcome is Outcome.CANCELLED else Told(error, job.attempts_made + 1)


def _info(error: Exception) -> ErrorInfo:
    return ErrorInfo(type(error).__name__, str(error))
