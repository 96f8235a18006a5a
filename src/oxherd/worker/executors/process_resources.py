"""Lifespans and dependencies in a handler's own process, whose main thread runs the handler and no event loop.

What is async runs in an event loop in a thread, as long as the process does: a pool's connections are kept alive there
while the handler computes.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import AsyncExitStack, contextmanager
from typing import Any, TypeVar

from oxherd.context import Context
from oxherd.handler import DeclaredHandler
from oxherd.resources.lifespan import OpenLifespans
from oxherd.resources.resolution import Resolution
from oxherd.resources.sync_middleware import run_here

T = TypeVar("T")


class ProcessResources:
    """The resources of the one handler that a process runs."""

    def __init__(self, declared: DeclaredHandler) -> None:
        self._handler = declared.handler
        self._resources = declared.resources
        # The handler itself, without a frame of ours, where it needs nothing.
        bare = not declared.handler.needs and not declared.resources.sync_middleware
        self.call = declared.handler.call if bare else self._call
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lifespans: OpenLifespans | None = None
        self._values: dict[Callable[..., Any], Any] = {}

    def open(self) -> None:
        """Open the lifespans. Raises LifespanError."""
        if self._resources.lifespans:
            self._run(self._open())

    def _call(self, payload: Any, context: Context) -> Any:
        """Run the handler with its dependencies and the sync middleware."""
        handler, around = self._handler, self._resources.sync_middleware
        resolution = self._resources.resolution(handler.needs, context, self._values) if handler.needs else None
        if resolution is None or not resolution.needs_loop:
            return run_here(handler.call, payload, context, resolution, around)
        with self._async_part(resolution):
            return run_here(handler.call, payload, context, resolution, around)
        return None  # a dependency has taken the error

    def close(self) -> None:
        """Close the lifespans and end the loop."""
        if self._lifespans is not None:
            self._run(self._lifespans.close())
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    async def _open(self) -> None:
        self._lifespans = self._resources.open_lifespans()
        self._values = self._resources.values_here()
        await self._lifespans.open()

    @contextmanager
    def _async_part(self, resolution: Resolution) -> Generator[None]:
        stack = AsyncExitStack()
        try:
            self._run(resolution.before(stack))
            yield
        except BaseException as error:
            if not self._run(stack.__aexit__(type(error), error, error.__traceback__)):
                raise
        else:
            self._run(stack.aclose())

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run in the loop, with this thread's contextvars."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="oxherd-loop", daemon=True)
            self._thread.start()
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
