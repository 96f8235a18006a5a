"""The executors: a handler runs in the event loop, in threads, or in processes of its own."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, TypeVar, cast

from oxherd.context import Context
from oxherd.declaration import Declaration
from oxherd.handler import Handler
from oxherd.resources.declared import Resources
from oxherd.resources.resolution import call_in_loop
from oxherd.worker.executors.middleware import MiddlewareExecutor
from oxherd.worker.executors.processes import ProcessExecutor
from oxherd.worker.executors.thread_call import Ended, call_to_end
from oxherd.worker.running.execution import HandlerRun
from oxherd.worker.running.result import encode_result, is_awaitable
from oxherd.worker.served_events import Executor

T = TypeVar("T")


def executor_for(declaration: Declaration, handler: Handler, resources: Resources) -> Executor:
    """The executor that the handler's `run_in` asks for, with the herd's middleware around it."""
    executor = _executor_for(declaration, handler, resources)
    return MiddlewareExecutor(executor, resources.middleware) if resources.middleware else executor


def _executor_for(declaration: Declaration, handler: Handler, resources: Resources) -> Executor:
    if handler.run_in == "process":
        return ProcessExecutor(declaration, handler, resources)
    if handler.run_in == "thread":
        open_run = handler.needs or resources.middleware or resources.sync_middleware
        return OpenThreadExecutor(declaration, handler, resources) if open_run else ThreadExecutor(declaration, handler)
    return ResolvingLoopExecutor(handler, resources) if handler.needs else LoopExecutor(handler)


class LoopExecutor:
    """Runs an `async def` in the event's own task."""

    def __init__(self, handler: Handler) -> None:
        self._call = handler.call

    def call(self, run: HandlerRun, payload: Any, /) -> Awaitable[Any]:
        """The handler's own coroutine."""
        return self._call(payload, run.context)

    async def close(self) -> None:
        """Nothing was started."""


class ResolvingLoopExecutor(LoopExecutor):
    """Runs an `async def` that has dependencies."""

    def __init__(self, handler: Handler, resources: Resources) -> None:
        super().__init__(handler)
        self._needs = handler.needs
        self._resources = resources
        self._lifespans = resources.values_here()

    def call(self, run: HandlerRun, payload: Any, /) -> Awaitable[Any]:
        """A coroutine that makes the dependencies, runs the handler and closes them."""
        resolution = self._resources.resolution(self._needs, run.context, self._lifespans)
        return call_in_loop(self._call, payload, run.context, resolution)


class ThreadExecutor:
    """Runs a `def` in threads, as many as the event's concurrency."""

    def __init__(self, declaration: Declaration, handler: Handler) -> None:
        self._call = handler.call
        self._threads = ThreadPoolExecutor(declaration.concurrency, thread_name_prefix=f"oxherd-{declaration.name}")
        self._running: set[asyncio.Future[Any]] = set()

    async def call(self, run: HandlerRun, payload: Any, /) -> Any:
        """Run the handler in a thread, and wait for it even if cancelled; its end, as of `_run`."""
        return await self._in_thread(_run, self._call, payload, run)

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        context_run = cast("Callable[..., T]", contextvars.copy_context().run)
        call = partial(context_run, function, *arguments)
        # The call carries the event's contextvars; the pool's own threads must not inherit them.
        submit = partial(asyncio.get_running_loop().run_in_executor, self._threads, call)
        future: asyncio.Future[T] = contextvars.Context().run(submit)
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


class OpenThreadExecutor(ThreadExecutor):
    """Runs a `def` whose very error and result others see: its async dependencies, or middleware."""

    def __init__(self, declaration: Declaration, handler: Handler, resources: Resources) -> None:
        super().__init__(declaration, handler)
        self._needs = handler.needs
        self._resources = resources
        self._lifespans = resources.values_here()

    async def call(self, run: HandlerRun, payload: Any, /) -> Any:
        """Make what is async here, the rest in the thread, and run the handler there."""
        context, around = run.context, self._resources.sync_middleware
        # Middleware is given the result itself, which is encoded in the loop then.
        encode = _unchanged if self._resources.middleware else partial(_encoded, most=run.max_result)
        if not self._needs:
            return _result(await self._in_thread(call_to_end, self._call, payload, context, None, around, encode), run)
        resolution = self._resources.resolution(self._needs, context, self._lifespans)
        async with AsyncExitStack() as stack:
            await resolution.before(stack)
            ended = await self._in_thread(call_to_end, self._call, payload, context, resolution, around, encode)
            return _result(ended, run)
        return None  # a dependency has taken the error


def _result(ended: Ended, run: HandlerRun) -> Any:
    # Raised in the main thread, it would count as Python's own.
    return run.describe(ended.error) if isinstance(ended.error, KeyboardInterrupt) else ended.result()


def _unchanged(value: Any) -> Any:
    return value


def _encoded(value: Any, most: int) -> Any:
    return value if value is None or is_awaitable(value) else encode_result(value, most)


def _run(call: Callable[[Any, Context], Any], payload: Any, run: HandlerRun) -> Any:
    """Run a handler here; returns what it raised described, and its result encoded, unless that is to be awaited.

    Both in this thread: a type's own code may block. An error that left it would refer to its frames, and they to it.
    """
    try:
        return _encoded(call(payload, run.context), run.max_result)
    except BaseException as error:  # noqa: BLE001 - whatever a handler raises becomes its event's outcome
        return run.describe(error)
