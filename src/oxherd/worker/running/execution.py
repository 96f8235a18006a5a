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
from oxherd.errors import Discard
from oxherd.signals import ProcessSpan
from oxherd.worker.fetching.isolation import Candidate, Isolation
from oxherd.worker.running.outcome import Outcome, RunEnd
from oxherd.worker.running.result import ResultError, result_json


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

    limiter: asyncio.Semaphore | None = None
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
    task: asyncio.Task[None] = field(init=False)
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
    """One run of a handler; `began_at` and `ended_at` are `time.perf_counter()`, `result` is JSON."""

    execution: Execution
    context: Context
    span: ProcessSpan | None = None
    began_at: float = field(default_factory=time.perf_counter)
    ended_at: float = 0.0
    end: RunEnd = RunEnd.RETURNED
    result: bytes = b"null"
    _timer: asyncio.TimerHandle | None = None

    def set_timeout(self, timeout: float | None) -> None:
        """Time out in `timeout` seconds from now, whatever was set before; None: never."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if timeout is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(timeout, self.execution.cancel, TimedOut(timeout))

    async def execute(self, call: Call, payload: Any, timeout: float | None) -> BaseException | None:
        """Run the handler and note how it ended; returns what it raised. Raises nothing but KeyboardInterrupt.

        The error is not kept here: its traceback refers to this run, and both would wait for the garbage collector.
        """
        execution, context = self.execution, self.context
        if timeout is not None:
            self.set_timeout(timeout)
        token = current.set(context)
        execution.stage = Stage.HANDLER
        try:
            value = await call(self, payload)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a handler raises becomes its event's outcome
            self.end = _end_of(error, context)
            return error
        else:
            return self._returned(value)
        finally:
            if execution.stage is Stage.HANDLER:
                execution.stage = Stage.SETTLING
                self.ended_at = time.perf_counter()
            current.reset(token)
            if timeout is not None:
                self.set_timeout(None)
            while execution.task.cancelling():
                execution.task.uncancel()

    def _returned(self, value: Any) -> ResultError | None:
        # Work that was done counts, even if the handler had been told to stop.
        if isinstance(self.context.cancelled, LockLost):
            self.end = RunEnd.LOST
        elif value is not None:
            try:
                self.result = result_json(value)
            except ResultError as error:
                self.end = RunEnd.DISCARDED
                return error
        return None


Call = Callable[[HandlerRun, Any], Awaitable[Any]]

_BY_REASON: dict[type[Reason], RunEnd] = {
    TimedOut: RunEnd.TIMED_OUT,
    Stopping: RunEnd.STOPPED,
    LockLost: RunEnd.LOST,
    Cancelled: RunEnd.CANCELLED,
}


def _end_of(error: BaseException, context: Context) -> RunEnd:
    """How a run that raised has ended; one that cancelled itself is `Cancelled` from here on."""
    if isinstance(error, Discard) and not isinstance(context.cancelled, LockLost):
        return RunEnd.DISCARDED
    if context.cancelled is None and isinstance(error, asyncio.CancelledError):
        context.cancelled = Cancelled()
    return RunEnd.RAISED if context.cancelled is None else _BY_REASON[type(context.cancelled)]
