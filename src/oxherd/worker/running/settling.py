"""Writes an event's outcome to Redis, through outages, expired locks and lost replies."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import TypeVar

from oxherd.bullmq.answers import EXPIRED, end_field
from oxherd.bullmq.cancellation import cancel_reason
from oxherd.bullmq.job import Job
from oxherd.bullmq.options import LONGEST_CACHED
from oxherd.bullmq.outbox import Message
from oxherd.bullmq.queue import finish_options
from oxherd.bullmq.replies import NOTHING, Fetched, Refusal
from oxherd.bullmq.runs import run_fields
from oxherd.declaration import Declaration
from oxherd.errors import RedisUnavailable
from oxherd.redis.client import ScriptError
from oxherd.redis.retry import retry_delay
from oxherd.signals import ErrorInfo
from oxherd.worker.failures import Told, failure_message
from oxherd.worker.fault_reporter import damaged_job
from oxherd.worker.fetching.unresolved_calls import UnresolvedCalls
from oxherd.worker.job_options import attempts_of, failure_fields, keep_of
from oxherd.worker.quarantine import quarantine
from oxherd.worker.running.execution import ExecutionTask
from oxherd.worker.running.failure import cancelled_error
from oxherd.worker.running.outcome import Outcome, RunEnd, Write
from oxherd.worker.running.resting import rest
from oxherd.worker.served_queue import ServedQueue

_CACHED_OPTIONS = 4096
_DAMAGED_SECONDS = 5.0
_PARENT_NOT_TOLD = {
    Refusal.PARENT_ELSEWHERE: ErrorInfo(
        "ParentElsewhere",
        "the job's parent cannot be told of its end, since it is in another slot of the cluster; give both queues the "
        "same hash tag",
    ),
    Refusal.PARENT_DAMAGED: ErrorInfo(
        "ParentDamaged",
        "the job's parent cannot be told of its end, since its hash or a key of its queue is damaged; mend that key",
    ),
}

K = TypeVar("K")
V = TypeVar("V")

# None: the step must be done in another way.
Reply = Fetched | Refusal | int | None
# Does something with a job, and begins a next one in the same script if it is told that it may.
Step = Callable[[bool], Awaitable[Reply]]


class Unsettled(Enum):
    """Why an outcome is not in Redis."""

    LOST = auto()  # the job is another worker's, or gone
    UNWRITTEN = auto()  # the worker gave up before Redis confirmed it
    CHILDREN_PENDING = auto()  # it cannot be completed before its children have ended
    CHILDREN_FAILED = auto()  # it cannot be completed, since a child that it depends on has failed
    CANCELLED = auto()  # it is not tried again, since it was cancelled meanwhile (`Job.cancel_reason`)


_REFUSED = {
    Refusal.PENDING_CHILDREN: Unsettled.CHILDREN_PENDING,
    Refusal.FAILED_CHILDREN: Unsettled.CHILDREN_FAILED,
}
# What a run counts as whose job cannot be completed.
UNCOMPLETED = {
    Unsettled.CHILDREN_PENDING: (
        RunEnd.CHILDREN_PENDING,
        ErrorInfo(
            "PendingChildren", "the job has pending dependencies; its handler must not return before they have ended"
        ),
    ),
    Unsettled.CHILDREN_FAILED: (
        RunEnd.CHILDREN_FAILED,
        ErrorInfo(
            "FailedChildren", "the job cannot be completed because it has at least one failed child; retry that first"
        ),
    ),
}


class Settler:
    """Writes the outcomes of one queue; `held` says how many jobs the worker holds.

    Once `give_up` is set, nothing is retried any more.
    """

    def __init__(self, served: ServedQueue, unresolved: UnresolvedCalls, held: Callable[[], int]) -> None:
        self._served = served
        self._queue = served.queue
        # In order, there is never more than one to finish.
        self._batched = None if served.ordered else served.queue.finish_many
        self._held = held
        self._ordered = served.ordered
        self._faults = served.faults
        self._events = served.events
        self._unresolved = unresolved
        self._removed: dict[tuple[str, bytes], bool] = {}
        self._options: dict[tuple[str, str, bytes, int, str], bytes] = {}
        self.give_up = asyncio.Event()

    async def settle(
        self,
        job: Job,
        declaration: Declaration | None,
        write: Write,
        *,
        result: bytes = b"null",
        error: ErrorInfo | None = None,
        outcome: Outcome = Outcome.FAILED,
        delay_ms: int = 0,
        told: Told | None = None,
        runs: str = "",
        fetch_next: bool = False,
    ) -> Fetched | Unsettled:
        """Write what became of a job, and if it failed, how; returns the job that the same script began, if any.

        `delay_ms`: before it is tried again. `told`: what its event's `on_failed` is told where it fails. `runs`: what
        the job's field `ox:runs` becomes, unless it is completed; empty if that stays.
        """
        message: Message | None = None
        if self._events.by_key:
            fetch_next = False
        if write is Write.COMPLETE:
            step = self._complete(job, declaration, result)
        elif write is Write.FAIL:
            if told is not None:
                known = declaration or self._served.declaration_of(job)
                message = failure_message(self._queue.keys.queue, job, known, told)
            step = self._fail(job, declaration, error, outcome, message, runs)
        elif write is Write.DROP:
            step = self._drop(job, declaration)
        elif write is Write.NOTHING:
            return Unsettled.LOST
        else:
            is_retry = write is Write.RETRY
            step = self._retry(job, error, delay_ms, runs) if is_retry else self._put_back(job, write, delay_ms, runs)
            return await self.retry_until_confirmed(job, step, leaves_running=True)
        settled = await self.retry_until_confirmed(job, step, fetch_next=fetch_next)
        if message is not None and not isinstance(settled, Unsettled):
            self._served.outgoing.written(message)
        if self._ordered and not fetch_next and not isinstance(settled, Unsettled):
            await self._wake()
        return settled

    async def settle_cancelled(
        self, job: Job, declaration: Declaration, *, fetch_next: bool, runs: str = ""
    ) -> Fetched | Unsettled:
        """Send a job to failed that was cancelled before its worker could tell its handler."""
        error, outcome = cancelled_error(job.cancel_reason or ""), Outcome.CANCELLED
        return await self.settle(
            job, declaration, Write.FAIL, error=error, outcome=outcome, runs=runs, fetch_next=fetch_next
        )

    async def postpone(self, job: Job, delay_ms: int, *, keeps_turn: bool = True) -> Fetched | Unsettled:
        """Offer a job again later, without spending an attempt; an ordered one at once, if it keeps its turn."""
        if self._ordered and keeps_turn:
            return await self.settle(job, None, Write.REQUEUE)
        step = self._delay(job, delay_ms)
        return await self.retry_until_confirmed(job, step, leaves_running=True)

    async def quarantine(self, job: Job, damage: str) -> Fetched | Unsettled:
        """Send a job to failed on which BullMQ's scripts would fail."""

        async def step(_: bool) -> Reply:
            await quarantine(self._served, job, damage)
            return 0

        return await self.retry_until_confirmed(job, step)

    # -- the steps

    def _complete(self, job: Job, declaration: Declaration | None, result: bytes) -> Step:
        """Complete a job: in a batch where it is to be removed, else by BullMQ's script."""
        batched = self._batched

        def complete(fetch: bool) -> Awaitable[Reply]:
            nonlocal batched
            if batched is not None and not job.limit_key and self._removes(job, declaration):
                # If it leaves the job to BullMQ's script (None), that one is next.
                batch, batched = batched, None
                return batch.finish(job, result, self._events.lock_ms, fetch_next=fetch, running=self._held())
            options = self._finish_options(job, declaration, "completed")
            return self._queue.finish(job, "completed", result, options, fetch_next=fetch)

        return complete

    def _fail(
        self,
        job: Job,
        declaration: Declaration | None,
        error: ErrorInfo | None,
        outcome: Outcome,
        message: Message | None,
        runs: str,
    ) -> Step:
        fields = [*([] if error is None else failure_fields(job, error, outcome)), *run_fields(runs)]
        reason = b"" if error is None else error.message.encode()
        left = b"" if message is None else message.packed

        async def fail(fetch: bool) -> Reply:
            options, more = self._finish_options(job, declaration, "failed"), fields
            if job.stalled:
                # So that an operator's retry counts stalls anew; what fails the job goes last.
                await self._queue.forget_stalled(job)
                more = [*fields, "stc", 0, "ox:uncounted", 0, "ox:beside", 0, "ox:begun", ""]
            return await self._queue.finish(job, "failed", reason, options, fetch_next=fetch, fields=more, message=left)

        return fail

    def _drop(self, job: Job, declaration: Declaration | None) -> Step:
        attempts, lock_ms = attempts_of(job, declaration), self._events.lock_ms
        options = finish_options(job, keep={"count": 0}, attempts=attempts, lock_ms=lock_ms)
        fields = end_field("expired", "EventExpired", EXPIRED.decode())
        return lambda fetch: self._queue.finish(job, "failed", EXPIRED, options, fetch_next=fetch, fields=fields)

    def _retry(self, job: Job, error: ErrorInfo | None, delay_ms: int, runs: str) -> Step:
        fields = [*([] if error is None else failure_fields(job, error, Outcome.RETRYING)), *run_fields(runs)]
        if self._ordered:
            return lambda _: self._queue.retry_in_order(job, fields, delay_ms)
        return lambda _: self._queue.delay(job, delay_ms, fields) if delay_ms else self._queue.retry_now(job, fields)

    def _put_back(self, job: Job, write: Write, delay_ms: int, runs: str) -> Step:
        if write is Write.REQUEUE:
            return lambda _: self._queue.requeue(job.id, job.token, job.limit_key, runs)
        if self._ordered:  # its queue rests meanwhile, whatever was asked for
            return lambda _: self._queue.requeue_in_order(job, delay_ms, runs)
        # Other keys, and a queue's other events, have nothing to do with this one's limit.
        if write is Write.REST and job.limit_key:
            fields = run_fields(runs)
            return lambda _: self._queue.delay(job, delay_ms, fields, skip_attempt=True, rest_ms=delay_ms)
        if write is Write.REST and not self._served.shared:
            return lambda _: rest(self._served, job, delay_ms, runs)
        # Also without a delay: at the head of the queue, it would keep others from beginning.
        return self._delay(job, delay_ms, runs)

    def _delay(self, job: Job, delay_ms: int, runs: str = "") -> Step:
        return lambda _: self._queue.delay(job, delay_ms, run_fields(runs), skip_attempt=True)

    async def _wake(self) -> None:
        """Wake the workers that wait for an ordered job to end; they also look every few seconds."""
        try:
            await self._queue.wake()
        except RedisUnavailable:  # reported as an outage
            return
        except ScriptError as error:
            self._faults.lasting("finish", error)

    # -- until Redis has confirmed it

    async def retry_until_confirmed(
        self, job: Job, step: Step, *, fetch_next: bool = False, leaves_running: bool = False
    ) -> Fetched | Unsettled:
        """Repeat a step until Redis confirms it, or refuses it for good.

        `leaves_running`: once the step is done, another worker may have begun the job.
        """
        ambiguous = False
        failures = 0
        while True:
            refused: ScriptError | None = None
            try:
                # A lost reply may have begun a job already: do not begin another one with the same token.
                reply = await step(fetch_next and not ambiguous)
                if reply is None:
                    continue
                settled = await self._judge(job, reply, ambiguous=ambiguous, leaves_running=leaves_running)
                if settled is not None:
                    return settled
            except (RedisUnavailable, ScriptError) as error:
                # A script that fails may have done a part of its work, also for the rest of its batch.
                refused = error if isinstance(error, ScriptError) else None
                if isinstance(error, ScriptError) or error.maybe_applied:
                    ambiguous = True
                    self._unresolved.add(job.token)
            except asyncio.CancelledError:
                if self._has_given_up():
                    return Unsettled.UNWRITTEN
                ambiguous = True  # the reply is lost
                self._unresolved.add(job.token)
                continue
            if refused is not None and fetch_next:
                # The damage may be in the job that the script was to begin: try without it.
                fetch_next = False
                continue
            failures += 1
            given_up = await self._before_retry(job, failures, refused)
            if given_up is not None:
                return given_up

    def _has_given_up(self) -> bool:
        """Whether a cancellation, which is being handled, means to give up; raised again outside an execution's task.

        There a handler may have left one behind, such as a timer's, or the loop ends: what became of the job is written
        all the same.
        """
        if self.give_up.is_set():
            return True
        task = asyncio.current_task()
        if not isinstance(task, ExecutionTask):
            raise
        task.take_back_cancellation()
        return False

    async def _before_retry(self, job: Job, failures: int, refused: ScriptError | None) -> Unsettled | None:
        """Wait before the next try; returns why there is none, if so."""
        delay = retry_delay(failures)
        if refused is not None:
            if await self._quarantine_damaged(job):
                return Unsettled.LOST
            self._faults.lasting("finish", refused, job)
            delay = _DAMAGED_SECONDS
        try:
            return Unsettled.UNWRITTEN if await self.pause(delay) else None
        except asyncio.CancelledError:
            return Unsettled.UNWRITTEN if self._has_given_up() else None

    async def pause(self, delay: float) -> bool:
        """Wait for `delay` seconds; True if the worker has given up."""
        try:
            async with asyncio.timeout(delay):
                await self.give_up.wait()
        except TimeoutError:
            return False
        return True

    async def _judge(
        self, job: Job, reply: Fetched | int, *, ambiguous: bool, leaves_running: bool
    ) -> Fetched | Unsettled | None:
        """What a reply means for a job; None to repeat the step."""
        if not isinstance(reply, int) or reply >= 0:
            self._faults.mended("finish")
            return reply if isinstance(reply, Fetched) else NOTHING
        refusal = Refusal(reply)
        if refusal in _PARENT_NOT_TOLD:
            if not job.forgets_parent:
                job.forgets_parent = True
                self._faults.of_job("finish", _PARENT_NOT_TOLD[refusal], job)
            return None
        if refusal is Refusal.CANCELLED:
            job.cancel_reason = await cancel_reason(self._queue, job.id)
            return Unsettled.CANCELLED
        if refusal is Refusal.LOCK_MISSING:
            # It expired (Redis was away, or the loop blocked). If nobody else has it, it is still ours.
            if (await self._queue.retake_locks([job], self._events.lock_ms))[0]:
                return None
            return NOTHING if ambiguous else Unsettled.LOST
        if ambiguous and (refusal in (Refusal.MISSING, Refusal.NOT_ACTIVE) or leaves_running):
            return NOTHING  # done by the try whose reply was lost
        return _REFUSED.get(refusal, Unsettled.LOST)

    async def _quarantine_damaged(self, job: Job) -> bool:
        """Quarantine the job if the script failed on its own hash; False if that is sound, or not known."""
        try:
            damage = await quarantine(self._served, job)
        except (RedisUnavailable, ScriptError, asyncio.CancelledError):
            return False  # the step itself is retried, or given up, by the caller
        if damage is not None:
            self._faults.of_job("data", damaged_job(damage), job)
        return damage is not None

    # -- what a job's options say, packed once for all jobs with the same

    def _removes(self, job: Job, declaration: Declaration | None) -> bool:
        """Whether the completed job is removed at once."""
        key = (declaration.name if declaration is not None else "", job.options.text)
        removes = self._removed.get(key)
        if removes is None:
            removes = keep_of(job, declaration, "completed").get("count") == 0
            _cache(self._removed, key, removes, job)
        return removes

    def _finish_options(self, job: Job, declaration: Declaration | None, target: str) -> bytes:
        name = declaration.name if declaration is not None else job.name
        key = (job.token, name, job.options.text, job.attempts_made, target)
        packed = self._options.get(key)
        if packed is None:
            packed = finish_options(
                job,
                keep=keep_of(job, declaration or self._served.declaration_of(job), target),
                attempts=attempts_of(job, declaration),
                lock_ms=self._events.lock_ms,
            )
            _cache(self._options, key, packed, job)
        return packed


def _cache(cache: dict[K, V], key: K, value: V, job: Job) -> None:
    if len(job.options.text) > LONGEST_CACHED:
        return
    if len(cache) >= _CACHED_OPTIONS:
        cache.clear()
    cache[key] = value
