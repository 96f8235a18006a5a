"""The executors: a handler runs in the event loop, in threads, or in processes of its own."""

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
from oxherd.worker.executors.processes import ProcessExecutor
from oxherd.worker.running.execution import HandlerRun
from oxherd.worker.running.result import encode_result, is_awaitable
from oxherd.worker.served_events import Executor


def executor_for(declaration: Declaration, handler: Handler) -> Executor:
    """The executor that the handler's `run_in` asks for."""
    if handler.run_in == "process":
        return ProcessExecutor(declaration, handler)
    return ThreadExecutor(declaration, handler) if handler.run_in == "thread" else LoopExecutor(handler)


class LoopExecutor:
    """Runs an `async def` in the event's own task."""

    def __init__(self, handler: Handler) -> None:
        self._call = handler.call

    def call(self, run: HandlerRun, payload: Any, /) -> Awaitable[Any]:
        """The handler's own coroutine."""
        return self._call(payload, run.context)

    async def close(self) -> None:
        """Nothing was started."""


class ThreadExecutor:
    """Runs a `def` in threads, as many as the event's concurrency."""

    def __init__(self, declaration: Declaration, handler: Handler) -> None:
        self._call = handler.call
        self._threads = ThreadPoolExecutor(declaration.concurrency, thread_name_prefix=f"oxherd-{declaration.name}")
        self._running: set[asyncio.Future[Any]] = set()

    async def call(self, run: HandlerRun, payload: Any, /) -> Any:
        """Run the handler in a thread, and wait for it even if cancelled; its end, as of `_run`."""
        context_run = cast("Callable[..., Any]", contextvars.copy_context().run)
        call = partial(context_run, _run, self._call, payload, run)
        # The call carries the event's contextvars; the pool's own threads must not inherit them.
        submit = partial(asyncio.get_running_loop().run_in_executor, self._threads, call)
        future: asyncio.Future[Any] = contextvars.Context().run(submit)
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        while True:
            try:
                return await asyncio.shield(future)
            except asyncio.CancelledError:
                # A thread cannot be cancelled: context.cancelled tells it, and we wait on, until it is abandoned.
                if future.cancelled():
                    raise

    async def close(self) -> None:
        """Let idle threads end; one that runs a handler cannot be ended, and is waited for no longer."""
        self._threads.shutdown(wait=False)
        for future in list(self._running):
            future.cancel()


def _run(call: Callable[[Any, Context], Any], payload: Any, run: HandlerRun) -> Any:
    """Run a handler here; returns what it raised described, and its result encoded, unless that is to be awaited.

    Both in this thread: a type's own code may block. An error that left it would refer to its frames, and they to it.
    """
    try:
        value = call(payload, run.context)
        return value if value is None or is_awaitable(value) else encode_result(value, run.max_result)
    except BaseException as error:  # noqa: BLE001 - whatever a handler raises becomes its event's outcome
        return run.describe(error)
