"""One event while it is processed: its job, its handler's run, and who may cancel it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from contextvars import copy_context
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import Any, cast

from pydantic_core import PydanticSerializationError, to_json

from oxherd.context import Cancelled, Context, LockLost, Reason, Stopping, TimedOut, current
from oxherd.declaration import Declaration, Handler
from oxherd.errors import Discard
from oxherd.queue.job import Job
from oxherd.worker.outcome import Ended


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


class Running:
    """An event that a worker holds."""

    __slots__ = ("began", "context", "declaration", "job", "shown", "stage", "task")

    def __init__(self, job: Job, task: asyncio.Task[None]) -> None:
        self.job = job
        self.task = task
        self.stage = Stage.STARTING
        self.began = 0.0
        self.declaration: Declaration | None = None
        self.context: Context | None = None
        self.shown: Any = None

    def cancel(self, reason: Reason) -> None:
        """Tell the handler to stop, and why; does nothing once the handler has ended."""
        context = self.context
        if self.stage is not Stage.HANDLER or context is None:
            return
        if context.cancelled is None or isinstance(reason, LockLost):
            context.cancelled = reason
        self.task.cancel(context.cancelled)  # pyright: ignore[reportArgumentType] - any object may be the message

    @property
    def duration_ms(self) -> float:
        """Milliseconds since the handler began."""
        return (time.perf_counter() - self.began) * 1000


Call = Callable[[Any, Context], Awaitable[Any]]


def caller(handler: Handler, executor: Executor | None) -> Call:
    """A coroutine function that runs the handler where it is to run."""
    function, wants_context = handler.function, handler.wants_context
    if executor is None:
        return function if wants_context else lambda payload, context: function(payload)  # noqa: ARG005

    async def in_thread(payload: Any, context: Context) -> Any:
        arguments = (payload, context) if wants_context else (payload,)
        context_run = cast("Callable[..., Any]", copy_context().run)
        call = partial(context_run, _guarded, function, arguments)
        future: asyncio.Future[Any] = asyncio.get_running_loop().run_in_executor(executor, call)
        while True:
            try:
                value, error = await asyncio.shield(future)
            except asyncio.CancelledError:
                # A thread cannot be cancelled: it has been told by context.cancelled, and we go on waiting for it.
                if future.cancelled():
                    raise
                continue
            break
        if error is not None:
            raise error
        return value

    return in_thread


def _guarded(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, BaseException | None]:
    # StopIteration and CancelledError cannot travel through a future as they are.
    try:
        return function(*arguments), None
    except BaseException as error:  # noqa: BLE001 - handed over whole
        return None, error


async def execute(running: Running, call: Call, payload: Any, timeout: float | None) -> Run:
    """Run the handler and say how it ended; never raises but for KeyboardInterrupt."""
    context = running.context
    assert context is not None  # noqa: S101 - set by the worker before
    timer = None
    if timeout is not None:
        timer = asyncio.get_running_loop().call_later(timeout, running.cancel, TimedOut(timeout))
    token = current.set(context)
    running.stage = Stage.HANDLER
    try:
        value = await call(payload, context)
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
        if timer is not None:
            timer.cancel()
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
        return Run(Ended.RETURNED, to_json(value, inf_nan_mode="null"))
    except (PydanticSerializationError, ValueError, RecursionError):
        error = ResultError(f"The handler's result, of type {type(value).__name__}, cannot be written as JSON.")
        return Run(Ended.DISCARDED, error=error)
