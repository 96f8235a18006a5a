"""A job in a worker's hands: what it waits for and holds, its handler's run, and who may cancel it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from oxherd.bullmq.job import Job
from oxherd.context import Cancelled, Context, LockLost, Reason, Stopping, TimedOut, current
from oxherd.declaration import Declaration
from oxherd.errors import is_interrupt
from oxherd.retries import AS_DECLARED, Decision, Verdict, declared_delay, judge
from oxherd.signals import ErrorInfo, ProcessSpan
from oxherd.worker.fetching.isolation import Candidate, Isolation
from oxherd.worker.job_options import asks_backoff
from oxherd.worker.limiter import Limiter
from oxherd.worker.running.failure import SELF_CANCELLED, Raised, cancelled_error, describe_raised
from oxherd.worker.running.outcome import Outcome, RunEnd
from oxherd.worker.running.result import JSONResult, encode_result, is_awaitable


class Stage(Enum):
    """Where an execution is between fetch and outcome."""

    STARTING = auto()
    HANDLER = auto()
    SETTLING = auto()
    ABANDONED = auto()  # a stop wrote its outcome, since its handler could not be ended


@dataclass(slots=True, eq=False)
class Admission:
    """What an execution needs before its handler may begin, beside its slot.

    `limiter` is its event's, once acquired; `isolation` counts it as running, as a `suspect` if it may be alone.
    Once `refused`, it must not begin.
    """

    limiter: Limiter | None = None
    isolation: Isolation | None = None
    suspect: Candidate | None = None
    refused: bool = False
    _waits_for: asyncio.Future[Any] | None = None

    async def wait(self, future: asyncio.Future[Any], seconds: float | None = None) -> bool:
        """Wait for a future; False if that takes more than `seconds`, or the execution is refused meanwhile."""
        if self.refused or (seconds is not None and seconds <= 0):
            future.cancel()
            return False
        self._waits_for = future
        try:
            await asyncio.wait([future], timeout=seconds)
        finally:
            self._waits_for = None
        return future.done() and not future.cancelled()

    def refuse(self) -> None:
        """Keep the handler from beginning, and end the wait for it."""
        self.refused = True
        if self._waits_for is not None:
            self._waits_for.cancel()

    def release(self) -> None:
        """Give back what is held; may be called again."""
        limiter, self.limiter = self.limiter, None
        if limiter is not None:
            limiter.release()
        isolation, self.isolation = self.isolation, None
        if isolation is not None:
            isolation.leave(self.suspect)


class ExecutionTask(asyncio.Task[None]):
    """An execution's task; notes who cancels it, which its handler may do as well.

    Made directly: the loop's task factory may be an eager one, which runs a task before anybody knows of it.
    """

    cancel_requested = False

    def cancel(self, msg: Any | None = None) -> bool:
        """As of any task."""
        self.cancel_requested = True
        return super().cancel(msg)

    async def absorb_cancellation(self) -> bool:
        """Take back what the handler has left behind; returns whether it had asked for a cancellation and not got it.

        Up to Python 3.12, `uncancel` does not suffice: what was asked for still ends the next wait.
        """
        asked, ended = self.cancelling() > 0, False
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            ended = True
        self.take_back_cancellation()
        return asked and ended

    def take_back_cancellation(self) -> None:
        """Count no request to cancel this task any more."""
        self.cancel_requested = False
        while self.cancelling():
            self.uncancel()


@dataclass(slots=True, eq=False, repr=False)  # a repr would show payloads
class Execution:
    """A job that a worker holds, from its fetch until its outcome is in Redis.

    Attributes:
        task: the task that processes it, set by whoever creates that task.
        admission: what it waits for and holds beside its slot, which is lent out while `slot_released`.
        declaration: its event's, once the job is known to be runnable.
        run: its handler's run, while there is one.
        outcome, unwritten, told_to_stop: for the stop report; `unwritten` if Redis did not confirm the outcome in time.
    """

    job: Job
    event_id: str
    task: ExecutionTask = field(init=False)
    stage: Stage = Stage.STARTING
    admission: Admission = field(default_factory=Admission)
    slot_released: bool = False
    declaration: Declaration | None = None
    run: HandlerRun | None = None
    outcome: Outcome | None = None
    unwritten: bool = False
    told_to_stop: bool = False

    def cancel(self, reason: Reason) -> None:
        """Cancel the handler, with the reason; does nothing unless it runs."""
        if self.stage is not Stage.HANDLER or self.run is None:
            return
        context = self.run.context
        if context.cancelled is None or isinstance(reason, LockLost):
            context.cancelled = reason
        self.told_to_stop = isinstance(context.cancelled, Stopping)
        self.task.cancel(context.cancelled)  # pyright: ignore[reportArgumentType] - any object may be the message

    def refuse(self) -> None:
        """Keep the handler from beginning, if it has not begun."""
        self.admission.refuse()

    def call_off(self, reason: Cancelled) -> None:
        """Tell a handler that runs to stop, once; one that has not begun does not begin."""
        if self.stage is Stage.STARTING:
            self.job.cancel_reason = reason.reason
            self.admission.refuse()
        elif self.run is not None and self.run.context.cancelled is None:
            self.cancel(reason)

    def lose(self) -> None:
        """Stop, as another worker has the lock. An outcome that is being written finds out by itself."""
        if self.stage is Stage.STARTING:
            self.admission.refuse()
        elif self.stage is Stage.HANDLER:
            self.cancel(LockLost())

    def abandon(self) -> HandlerRun:
        """Give up on a handler that cannot be ended: nothing of its run counts any more."""
        run = self.run
        assert run is not None  # noqa: S101 - only a handler that runs is abandoned
        self.stage = Stage.ABANDONED
        run.context.abandoned = True
        run.ended_at = time.perf_counter()
        self.admission.release()
        return run

    def drop_run(self) -> None:
        """Break the cycle between this and the context, so that freeing payloads needs no garbage collection."""
        self.run = None


@dataclass(slots=True, eq=False, repr=False)  # a repr would show payloads
class HandlerRun:
    """One run of a handler; `began_at` and `ended_at` are `time.perf_counter()`.

    Attributes:
        max_result: bytes of JSON that its result may have.
        result: its JSON; `dropped` says why there is none, if so.
        error: what it raised, or why it was told to stop; `verdict` is what that means for another attempt.
    """

    execution: Execution
    context: Context
    max_result: int
    span: ProcessSpan | None = None
    began_at: float = field(default_factory=time.perf_counter)
    ended_at: float = 0.0
    end: RunEnd = RunEnd.RETURNED
    result: bytes = b"null"
    dropped: str | None = None
    error: ErrorInfo | None = None
    verdict: Verdict = AS_DECLARED
    _timer: asyncio.TimerHandle | None = None

    @property
    def seconds_left(self) -> float | None:
        """The seconds until it times out; None: never."""
        return None if self._timer is None else self._timer.when() - asyncio.get_running_loop().time()

    def set_timeout(self, timeout: float | None, left: float | None = None) -> None:
        """Time out `timeout` seconds from now, or in the `left` of them, whatever was set before; None: never."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if timeout is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(
                timeout if left is None else max(left, 0), self.execution.cancel, TimedOut(timeout)
            )

    async def execute(self, call: Call, payload: Any, timeout: float | None) -> None:
        """Run the handler and note how it ended. Raises nothing but Python's own KeyboardInterrupt.

        An error is described here and not kept: its traceback refers to this run and to frames that would refer to the
        error, and all of them would wait for the garbage collector.
        """
        execution, context = self.execution, self.context
        if timeout is not None:
            self.set_timeout(timeout)
        token = current.set(context)
        execution.stage = Stage.HANDLER
        try:
            value = await call(self, payload)
            while is_awaitable(value):
                value = await value
            self._note(value)
        except BaseException as error:
            if is_interrupt(error):
                raise
            self._note_raised(self.describe(error))
        finally:
            if execution.stage is Stage.HANDLER:
                execution.stage = Stage.SETTLING
                self.ended_at = time.perf_counter()
            current.reset(token)
            if timeout is not None:
                self.set_timeout(None)
        if execution.task.cancel_requested and await execution.task.absorb_cancellation():
            self._note_self_cancelled()

    def describe(self, error: BaseException) -> Raised:
        """Describe what the handler raised, and judge it; from any thread."""
        return describe_raised(error, self.context, self._declaration.retry, ask_backoff=self.asks_backoff)

    def describe_death(self, error: BaseException) -> Raised:
        """Describe why the handler has not ended: no error of its own, so it is tried again whatever is declared."""
        info = ErrorInfo(type(error).__name__, str(error))
        if not self.asks_backoff:
            return Raised(info)
        return Raised(info, declared_delay(error, self._declaration.retry, self.context.attempt))

    @property
    def asks_backoff(self) -> bool:
        """Whether a function of the declaration's says when it is tried again."""
        return asks_backoff(self.execution.job, self._declaration)

    @property
    def _declaration(self) -> Declaration:
        declaration = self.execution.declaration
        assert declaration is not None  # noqa: S101 - known before its handler runs
        return declaration

    def _judge(self, error: BaseException) -> Verdict:
        return judge(error, self._declaration.retry, self.context.attempt, ask=self.asks_backoff)

    def _note(self, value: Any) -> None:
        if type(value) is Raised:
            self._note_raised(value)
        # Work that was done counts, even if the handler had been told to stop.
        elif isinstance(self.context.cancelled, LockLost):
            self.end, self.error = RunEnd.LOST, ErrorInfo("LockLost", str(self.context.cancelled))
        elif value is not None:
            result = value if type(value) is JSONResult else encode_result(value, self.max_result)
            self.result, self.dropped = result.json, result.dropped

    def _note_self_cancelled(self) -> None:
        if self.end is RunEnd.RETURNED and self.context.cancelled is None:
            self.error, self.result, self.dropped = SELF_CANCELLED, b"null", None
            self.verdict = self._judge(asyncio.CancelledError(SELF_CANCELLED.message))
            self.end = _BY_DECISION[self.verdict.decision]

    def _note_raised(self, raised: Raised) -> None:
        reason, verdict = self.context.cancelled, raised.verdict
        if isinstance(reason, TimedOut):
            if not verdict.asked_for:
                verdict = self._judge(TimeoutError(str(reason)))
            self.end = _TIMED_OUT[verdict.decision]
        elif reason is None or (verdict.decision is Decision.DISCARD and not isinstance(reason, LockLost | Cancelled)):
            self.end = _BY_DECISION[verdict.decision]
        else:
            self.end = _BY_REASON[type(reason)]
        self.verdict = verdict
        if isinstance(reason, Cancelled) and not raised.cancelled:
            # Who waits for it is told why it was cancelled; the stack says what its handler has made of that.
            self.error = cancelled_error(reason.reason, raised.error.stack)
        else:
            told = raised.cancelled and reason is not None
            self.error = ErrorInfo(type(reason).__name__, str(reason)) if told else raised.error


Call = Callable[[HandlerRun, Any], Awaitable[Any]]

_BY_DECISION: dict[Decision, RunEnd] = {
    Decision.AS_DECLARED: RunEnd.RAISED,
    Decision.RETRY_IN: RunEnd.RAISED,
    Decision.FINAL: RunEnd.RAISED_FINAL,
    Decision.SNOOZE: RunEnd.SNOOZED,
    Decision.RATE_LIMITED: RunEnd.RATE_LIMITED,
    Decision.DISCARD: RunEnd.DISCARDED,
}
# After a timeout.
_TIMED_OUT: dict[Decision, RunEnd] = {
    Decision.AS_DECLARED: RunEnd.TIMED_OUT,
    Decision.RETRY_IN: RunEnd.TIMED_OUT,
    Decision.FINAL: RunEnd.TIMED_OUT_FINAL,
    Decision.SNOOZE: RunEnd.SNOOZED,
    Decision.RATE_LIMITED: RunEnd.RATE_LIMITED,
    Decision.DISCARD: RunEnd.DISCARDED,
}
_BY_REASON: dict[type[Reason], RunEnd] = {
    Stopping: RunEnd.STOPPED,
    LockLost: RunEnd.LOST,
    Cancelled: RunEnd.CANCELLED,
}
