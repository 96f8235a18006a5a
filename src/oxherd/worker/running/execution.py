"""One event while it is processed: its job, its handler's run, and who may cancel it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from oxherd.bullmq.job import Job, event_id_text
from oxherd.context import Cancelled, Context, LockLost, Reason, Stopping, TimedOut, current
from oxherd.declaration import Declaration
from oxherd.errors import Discard
from oxherd.signals import ProcessSpan
from oxherd.worker.fetching.isolation import Isolation, Suspect
from oxherd.worker.running.outcome import Ended, Outcome


class Stage(Enum):
    """Where an event is between fetch and its outcome in Redis."""

    STARTING = auto()
    HANDLER = auto()
    SETTLING = auto()
    ABANDONED = auto()  # its outcome was written by the stop, while its handler could not be ended


_BY_REASON: dict[type[Reason], Ended] = {
    TimedOut: Ended.TIMED_OUT,
    Stopping: Ended.STOPPED,
    LockLost: Ended.LOST,
    Cancelled: Ended.CANCELLED,
}


@dataclass(slots=True)
class Run:
    """How a handler's run ended: with a result (JSON), or an error."""

    ended: Ended
    result: bytes = b"null"
    error: BaseException | None = None


class Execution:
    """An event that a worker holds, from the queue of that name; its task is set as soon as there is one.

    `data` is the job's, opened where it came sealed.
    `limiter` is its event's, once it has let it through; `isolation` counts it as running, `suspect` says that it
    may be alone. Its slot is lent out while it is `slot_released`. `refused` says that it is not to be begun any more.
    """

    __slots__ = (
        "_timer",
        "_waits_for",
        "began",
        "context",
        "data",
        "declaration",
        "ended",
        "isolation",
        "job",
        "limiter",
        "outcome",
        "queue",
        "refused",
        "shown",
        "slot_released",
        "span",
        "stage",
        "suspect",
        "task",
        "told_to_stop",
        "unwritten",
    )

    task: asyncio.Task[None]

    def __init__(self, job: Job, queue: str) -> None:
        self.job = job
        self.data = job.data
        self.queue = queue
        self.stage = Stage.STARTING
        self.began = 0.0
        self.ended = 0.0
        self.limiter: asyncio.Semaphore | None = None
        self.isolation: Isolation | None = None
        self.suspect: Suspect | None = None
        self.refused = False
        self.slot_released = False
        self.declaration: Declaration | None = None
        self.context: Context | None = None
        self.span: ProcessSpan | None = None
        self.shown: Any = None
        self.outcome: Outcome | None = None
        self.unwritten = False
        self.told_to_stop = False
        self._timer: asyncio.TimerHandle | None = None
        self._waits_for: asyncio.Future[Any] | None = None

    @property
    def event_id(self) -> str:
        """The event's UUID, as text."""
        return self.context.text if self.context is not None else event_id_text(self.queue, self.job.id)

    def set_timeout(self, timeout: float | None) -> None:
        """Give the handler `timeout` seconds from now, whatever it had before; None: no limit."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if timeout is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(timeout, self.cancel, TimedOut(timeout))

    def cancel(self, reason: Reason) -> None:
        """Tell the handler to stop, and why; does nothing once the handler has ended."""
        context = self.context
        if self.stage is not Stage.HANDLER or context is None:
            return
        if context.cancelled is None or isinstance(reason, LockLost):
            context.cancelled = reason
        self.told_to_stop = isinstance(context.cancelled, Stopping)
        self.task.cancel(context.cancelled)  # pyright: ignore[reportArgumentType] - any object may be the message

    def lose(self) -> None:
        """Its lock is another worker's. While its outcome is being written, the lock goes away by itself."""
        if self.stage is Stage.STARTING:
            self.refuse()
        elif self.stage is Stage.HANDLER:
            self.cancel(LockLost())

    def drop_context(self) -> None:
        """Let go of the context, which knows of this for its progress: neither has to wait for the garbage collector,
        which would be busy with little else, and would keep payloads for longer than they are needed."""
        if self.stage is not Stage.ABANDONED:  # its end may be still to be told
            self.context = None

    def leave(self) -> None:
        """Give back what it holds beside its slot, as far as it does."""
        limiter, self.limiter = self.limiter, None
        if limiter is not None:
            limiter.release()
        isolation, self.isolation = self.isolation, None
        if isolation is not None:
            isolation.leave(self.suspect)

    async def wait(self, future: asyncio.Future[Any], seconds: float | None = None) -> bool:
        """Wait for what it needs before its handler may begin; False where it is refused, or the time is over."""
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
        """Begin its handler no more, where it has not begun: it waits for nothing any longer."""
        self.refused = True
        if self._waits_for is not None:
            self._waits_for.cancel()

    def finish(self) -> float:
        """Note that the handler has ended; answers how long it ran, in milliseconds."""
        self.ended = time.perf_counter()
        return (self.ended - self.began) * 1000


Call = Callable[[Execution, Any], Awaitable[Any]]


async def execute(running: Execution, call: Call, payload: Any, timeout: float | None) -> Run:
    """Run the handler and say how it ended; never raises but for KeyboardInterrupt."""
    context = running.context
    assert context is not None  # noqa: S101 - set by the worker before
    if timeout is not None:
        running.set_timeout(timeout)
    token = current.set(context)
    running.stage = Stage.HANDLER
    try:
        value = await call(running, payload)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever a handler raises becomes its event's outcome
        running.stage = Stage.SETTLING if running.stage is Stage.HANDLER else running.stage
        return _failed(context, error)
    else:
        running.stage = Stage.SETTLING if running.stage is Stage.HANDLER else running.stage
        return _returned(context, value)
    finally:
        current.reset(token)
        if timeout is not None:
            running.set_timeout(None)
        while running.task.cancelling():
            running.task.uncancel()


def _failed(context: Context, error: BaseException) -> Run:
    if isinstance(error, Discard) and not isinstance(context.cancelled, LockLost):
        return Run(Ended.DISCARDED, error=error)
    if context.cancelled is None and isinstance(error, asyncio.CancelledError):
        context.cancelled = Cancelled()
    if context.cancelled is not None:
        return Run(_BY_REASON[type(context.cancelled)], error=error)
    return Run(Ended.RAISED, error=error)


class ResultError(Discard):
    """A handler's result cannot be written as JSON."""


def _returned(context: Context, value: Any) -> Run:
    if isinstance(context.cancelled, LockLost):
        return Run(Ended.LOST)
    # Work that was done counts as done, also where it was told to stop.
    if value is None:
        return Run(Ended.RETURNED)
    try:
        return Run(Ended.RETURNED, result_json(value))
    except ResultError as error:
        return Run(Ended.DISCARDED, error=error)


@dataclass(frozen=True, slots=True)
class JSONResult:
    """A result that is JSON already."""

    json: bytes


def result_json(value: Any) -> bytes:
    """A handler's result as it is stored; raises ResultError where it cannot be."""
    if type(value) is JSONResult:
        return value.json
    try:
        return to_json(value, inf_nan_mode="null")
    except (PydanticSerializationError, ValueError, RecursionError):
        message = f"The handler's result, of type {type(value).__name__}, cannot be written as JSON."
    raise ResultError(message)
