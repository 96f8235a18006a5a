"""Where handlers run: in the event loop, in threads, or in processes of their own."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, cast

from oxherd.context import Context
from oxherd.declaration import Declaration
from oxherd.handler import Handler
from oxherd.worker.executors.processes import Processes
from oxherd.worker.running.execution import Execution, Stage
from oxherd.worker.served_events import Executor


def executor_for(declaration: Declaration, handler: Handler) -> Executor:
    """The executor that the handler asks for."""
    if handler.run_in == "process":
        return Processes(declaration, handler)
    return InThreads(declaration, handler) if handler.run_in == "thread" else InLoop(handler)


class InLoop:
    """Runs an `async def` in the event's own task."""

    def __init__(self, handler: Handler) -> None:
        self._function = handler.function
        self._wants_context = handler.wants_context

    def call(self, running: Execution, payload: Any, /) -> Awaitable[Any]:
        """The handler's own coroutine."""
        return self._function(payload, running.context) if self._wants_context else self._function(payload)

    async def close(self) -> None:
        """Nothing was started."""


class InThreads:
    """Runs a `def` in threads, as many as the event's concurrency."""

    def __init__(self, declaration: Declaration, handler: Handler) -> None:
        self._function = handler.function
        self._wants_context = handler.wants_context
        self._threads = ThreadPoolExecutor(declaration.concurrency, thread_name_prefix=f"oxherd-{declaration.name}")

    async def call(self, running: Execution, payload: Any, /) -> Any:
        """Run the handler in a thread, and wait for it whatever happens."""
        arguments = (payload, running.context) if self._wants_context else (payload,)
        context_run = cast("Callable[..., Any]", contextvars.copy_context().run)
        call = partial(context_run, _guarded, self._function, arguments)
        # The event comes with the call: the pool's threads, and whoever else would hand it on, see none.
        hand_over = partial(asyncio.get_running_loop().run_in_executor, self._threads, call)
        future: asyncio.Future[Any] = contextvars.Context().run(hand_over)
        while True:
            try:
                value, error = await asyncio.shield(future)
            except asyncio.CancelledError:
                # A thread cannot be cancelled: it has been told by context.cancelled, and we go on waiting for it. But
                # once its event was put back, it must not keep the loop from closing.
                if running.stage is Stage.ABANDONED:
                    future.cancel()
                if future.cancelled():
                    raise
                continue
            break
        if error is not None:
            raise error
        return value

    async def close(self) -> None:
        """Let the idle threads end; a thread that still runs cannot be ended."""
        self._threads.shutdown(wait=False)


def _guarded(function: Callable[..., Any], arguments: tuple[Any | Context, ...]) -> tuple[Any, BaseException | None]:
    # StopIteration and CancelledError cannot travel through a future as they are.
    try:
        return function(*arguments), None
    except BaseException as error:  # noqa: BLE001 - handed over whole
        return None, error
