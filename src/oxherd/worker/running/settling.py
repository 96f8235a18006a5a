"""Writes an event's outcome to Redis, through outages, run-out locks and answers that were lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from functools import partial
from typing import Any, TypeVar

from oxherd.bullmq.job import Job
from oxherd.bullmq.options import LONGEST_CACHED
from oxherd.bullmq.queue import finish_options
from oxherd.bullmq.replies import NOTHING, Fetched, Refusal
from oxherd.declaration import Declaration
from oxherd.errors import RedisUnavailable
from oxherd.redis.client import ScriptError
from oxherd.redis.retry import retry_delay
from oxherd.signals import ErrorInfo
from oxherd.worker.fault_reporter import damaged_job
from oxherd.worker.fetching.unresolved_calls import UnresolvedCalls
from oxherd.worker.running.job_options import attempts_of, failure_fields, keep_of, retry_delay_ms
from oxherd.worker.running.outcome import Ended, Write
from oxherd.worker.served_queue import ServedQueue

_CACHED_OPTIONS = 4096
_DAMAGED_SECONDS = 5.0
_UNTOLD = {
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
_PARENT_OF_DAMAGED = ErrorInfo(
    "ParentNotTold", "the job was taken off the queue, and its parent is not told of its end; remove or mend the job"
)

K = TypeVar("K")
V = TypeVar("V")

# None: the step is to be done in another way.
Answer = Fetched | Refusal | int | None
# A step with a job; it is told whether it may begin a next one.
Step = Callable[[bool], Awaitable[Answer]]


class Unsettled(Enum):
    """Why an outcome is not in Redis."""

    LOST = auto()  # the job is another worker's, or gone
    UNWRITTEN = auto()  # the worker's time was over before Redis confirmed it
    CHILDREN_PENDING = auto()  # its children have not ended, so that it cannot be completed
    CHILDREN_FAILED = auto()  # a child that it depends on has failed, so that it cannot be completed


_REFUSED = {
    Refusal.PENDING_CHILDREN: Unsettled.CHILDREN_PENDING,
    Refusal.FAILED_CHILDREN: Unsettled.CHILDREN_FAILED,
}
# How a run has ended of which the job cannot be completed.
UNCOMPLETED = {
    Unsettled.CHILDREN_PENDING: (
        Ended.CHILDREN_PENDING,
        ErrorInfo(
            "PendingChildren", "the job has pending dependencies; its handler must not return before they have ended"
        ),
    ),
    Unsettled.CHILDREN_FAILED: (
        Ended.CHILDREN_FAILED,
        ErrorInfo(
            "FailedChildren", "the job cannot be completed because it has at least one failed child; retry that first"
        ),
    ),
}


class Settler:
    """Writes outcomes for one queue.

    `running` says how many jobs the worker holds; `abandoned` ends every attempt once the worker's time is over.
    """

    def __init__(self, served: ServedQueue, unresolved: UnresolvedCalls, running: Callable[[], int]) -> None:
        self._queue = served.queue
        # One at a time, there is nothing to be written together.
        self._many = None if served.ordered else served.queue.finish_many
        self._running = running
        self._ordered = served.ordered
        self._faults = served.faults
        self._events = served.events
        self._unresolved = unresolved
        self._removed: dict[tuple[str, bytes], bool] = {}
        self._options: dict[tuple[str, bytes, int, str], bytes] = {}
        self.abandoned = asyncio.Event()

    async def settle(
        self,
        job: Job,
        declaration: Declaration | None,
        write: Write,
        *,
        result: bytes = b"null",
        error: ErrorInfo | None = None,
        fetch_next: bool = False,
    ) -> Fetched | Unsettled:
        """Write what became of a job; answers the job that was begun in the same step, if any."""
        if write is Write.COMPLETE and not self._ordered:
            return await self.retry_until_confirmed(
                job, self._completing(job, declaration, result), fetch_next=fetch_next
            )
        if write is Write.NOTHING:
            return Unsettled.LOST
        fields = [] if error is None else failure_fields(job, error)
        if write is Write.COMPLETE or write is Write.FAIL:
            failing = partial(self._fail, job, declaration, error, fields)
            step = self._completing(job, declaration, result) if write is Write.COMPLETE else failing
            settled = await self.retry_until_confirmed(job, step, fetch_next=fetch_next)
            if self._ordered and not fetch_next and not isinstance(settled, Unsettled):
                await self._wake()
            return settled
        delay = retry_delay_ms(job, declaration) if write is Write.RETRY else 0
        queue = self._queue

        def put_back(_: bool) -> Awaitable[Answer]:
            if write is Write.REQUEUE:
                return queue.requeue(job.id, job.token)
            if self._ordered:
                return queue.retry_in_order(job, fields, delay)
            return queue.delay(job, delay, fields) if delay else queue.retry_now(job, fields)

        return await self.retry_until_confirmed(job, put_back, leaves_running=True)

    def _completing(self, job: Job, declaration: Declaration | None, result: bytes) -> Step:
        """The step that completes a job: together with others where it is to be removed, else by BullMQ's script."""
        many = self._many

        def complete(fetch: bool) -> Awaitable[Answer]:
            nonlocal many
            if many is not None and self._removes(job, declaration):
                # What it leaves to BullMQ is asked of it once.
                together, many = many, None
                return together.finish(job, result, self._events.lock_ms, fetch_next=fetch, running=self._running())
            options = self._finish_options(job, declaration, "completed")
            return self._queue.finish(job, "completed", result, options, fetch_next=fetch)

        return complete

    async def _fail(
        self, job: Job, declaration: Declaration | None, error: ErrorInfo | None, fields: list[Any], fetch: bool
    ) -> Answer:
        options = self._finish_options(job, declaration, "failed")
        reason = (error.message if error else "").encode()
        if job.stalled:
            # An operator's retry starts its stalls anew. Of the two marks that fail it, its stalls are the last to go.
            await self._queue.forget_stalled(job)
            fields = [*fields, "stc", 0, "ox:uncounted", 0, "ox:beside", 0]
        return await self._queue.finish(job, "failed", reason, options, fetch_next=fetch, fields=fields)

    async def _wake(self) -> None:
        """Tell the workers that wait for the one before to end; where they hear nothing, they look within seconds."""
        try:
            await self._queue.wake()
        except RedisUnavailable:  # reported as an outage
            return
        except ScriptError as error:
            self._faults.lasting("finish", error)

    async def postpone(self, job: Job, delay_ms: int) -> Fetched | Unsettled:
        """Offer a job again later, without costing an attempt; one that is kept in order is next again."""
        if self._ordered:
            return await self.settle(job, None, Write.REQUEUE)
        return await self.retry_until_confirmed(
            job, lambda _: self._queue.delay(job, delay_ms, [], skip_attempt=True), leaves_running=True
        )

    async def quarantine(self, job: Job, damage: str) -> Fetched | Unsettled:
        """Send a job to failed on which BullMQ's scripts would fail."""

        async def step(_: bool) -> Answer:
            self._was_set_aside(job, await self._queue.quarantine(job.raw_id, job.token, damage))
            return 0

        return await self.retry_until_confirmed(job, step)

    async def _is_damaged(self, job: Job) -> bool:
        """Whether a script failed because the job's own hash is damaged; such a job is set aside."""
        try:
            done = await self._queue.quarantine(job.raw_id, job.token)
        except (RedisUnavailable, ScriptError, asyncio.CancelledError):
            return False  # tried again with the step itself, or given up there
        if done is not None:
            self._faults.of_job("data", damaged_job(done[0]), job)
            self._was_set_aside(job, done)
        return done is not None

    def _was_set_aside(self, job: Job, done: tuple[str, bool] | None) -> None:
        if done is not None and done[1]:
            self._faults.of_job("finish", _PARENT_OF_DAMAGED, job)

    async def retry_until_confirmed(
        self, job: Job, step: Step, *, fetch_next: bool = False, leaves_running: bool = False
    ) -> Fetched | Unsettled:
        """Do one step with a job until Redis confirms it, or refuses it for good.

        `leaves_running` says that another worker may have begun the job once the step is done.
        """
        ambiguous = False
        failures = 0
        while True:
            refused: ScriptError | None = None
            try:
                # Once an answer was lost, a job may have been begun that nobody knows of: no further one in its lane.
                answer = await step(fetch_next and not ambiguous)
                if answer is None:
                    continue
                settled = await self._judge(job, answer, ambiguous=ambiguous, leaves_running=leaves_running)
                if settled is not None:
                    return settled
            except (RedisUnavailable, ScriptError) as error:
                # A script that fails may have done a part of its work, also for the others that went with it.
                if isinstance(error, ScriptError) or error.maybe_applied:
                    ambiguous = True
                    self._unresolved.add(job.token)
                refused = error if isinstance(error, ScriptError) else None
            except asyncio.CancelledError:
                if self.abandoned.is_set():
                    return Unsettled.UNWRITTEN
                raise
            if refused is not None and fetch_next:
                # What is wrong may be the job that it was to begin: once more, without.
                fetch_next = False
                continue
            failures += 1
            over = await self._pause(job, failures, refused)
            if over is not None:
                return over

    async def _pause(self, job: Job, failures: int, refused: ScriptError | None) -> Unsettled | None:
        """Wait before a step is done again; answers why it is not, if it is not."""
        delay = retry_delay(failures)
        if refused is not None:
            if await self._is_damaged(job):
                return Unsettled.LOST
            self._faults.lasting("finish", refused, job)
            delay = _DAMAGED_SECONDS
        return Unsettled.UNWRITTEN if await self.over(delay) else None

    async def _judge(
        self, job: Job, answer: Fetched | int, *, ambiguous: bool, leaves_running: bool
    ) -> Fetched | Unsettled | None:
        """What an answer of Redis means for a job; None: the step is to be done again."""
        if not isinstance(answer, int) or answer >= 0:
            self._faults.mended("finish")
            return answer if isinstance(answer, Fetched) else NOTHING
        if answer in _UNTOLD:
            if not job.forgets_parent:
                job.forgets_parent = True
                self._faults.of_job("finish", _UNTOLD[Refusal(answer)], job)
            return None
        if answer != Refusal.LOCK_MISSING:
            return self._refused(Refusal(answer), ambiguous=ambiguous, leaves_running=leaves_running)
        # It ran out (Redis was away, the loop was blocked). Where nobody else has it, it is still ours.
        if (await self._queue.retake_locks([job], self._events.lock_ms))[0]:
            return None
        return NOTHING if ambiguous else Unsettled.LOST

    async def over(self, delay: float) -> bool:
        """Wait; True when the worker's time is over."""
        try:
            async with asyncio.timeout(delay):
                await self.abandoned.wait()
        except TimeoutError:
            return False
        return True

    def _removes(self, job: Job, declaration: Declaration | None) -> bool:
        """Whether the completed job is not kept."""
        key = (declaration.name if declaration is not None else "", job.options.text)
        removes = self._removed.get(key)
        if removes is None:
            removes = keep_of(job, declaration, "completed").get("count") == 0
            _remember(self._removed, key, removes, job)
        return removes

    @staticmethod
    def _refused(refusal: Refusal, *, ambiguous: bool, leaves_running: bool) -> Fetched | Unsettled:
        if ambiguous and (refusal in (Refusal.MISSING, Refusal.NOT_ACTIVE) or leaves_running):
            return NOTHING  # the attempt whose answer was lost did it
        return _REFUSED.get(refusal, Unsettled.LOST)

    def _finish_options(self, job: Job, declaration: Declaration | None, target: str) -> bytes:
        key = (job.token, job.options.text, job.attempts_made, target)
        packed = self._options.get(key)
        if packed is None:
            packed = finish_options(
                job,
                keep=keep_of(job, declaration, target),
                attempts=attempts_of(job, declaration),
                lock_ms=self._events.lock_ms,
            )
            _remember(self._options, key, packed, job)
        return packed


def _remember(known: dict[K, V], key: K, value: V, job: Job) -> None:
    """Keep what a job's options say for the next one that brings the same."""
    if len(job.options.text) > LONGEST_CACHED:
        return
    if len(known) >= _CACHED_OPTIONS:
        known.clear()
    known[key] = value
