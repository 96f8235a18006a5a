"""Calls an event's handler directly, for unit tests."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from inspect import isawaitable
from typing import Any, Generic, TypeVar, cast

from uuid_utils.compat import uuid7

from oxherd.bullmq.clock import now_ms
from oxherd.context import Context
from oxherd.errors import DeclarationError, UsageError
from oxherd.handler import Handler

P = TypeVar("P")
R = TypeVar("R")


class HandlerCall(ABC, Generic[P, R]):
    """The part of an event that calls its handler."""

    _handler: Handler | None

    @property
    @abstractmethod
    def name(self) -> str: ...

    async def __call__(self, payload: P, ctx: Context | None = None, /) -> R:
        """Run the handler directly, for unit tests: no queue, no log, no retry, no validation.

        Raises:
            DeclarationError: the event has no handler here.
        """
        handler, context = self.handler_here(), ctx or self._context()
        if handler.run_in == "loop":
            value = handler.call(payload, context)
        else:
            value = await asyncio.to_thread(_without_stop_iteration, handler.call, payload, context)
        while isawaitable(value):
            value = await value
        return cast("R", value)

    def call(self, payload: P, ctx: Context | None = None, /) -> R:
        """Run a `def` handler directly, in this very thread, for unit tests; otherwise as `await event(payload)`.

        Raises:
            DeclarationError: the event has no handler here.
            UsageError: the handler is an `async def`.
        """
        handler = self.handler_here()
        if handler.run_in == "loop":
            raise UsageError(f"{self.name}: its handler is an async def; call it by `await event(payload)`.")
        value = handler.call(payload, ctx or self._context())
        if isawaitable(value):
            close = getattr(value, "close", None)  # a coroutine that is not awaited warns
            if close is not None:
                close()
            raise UsageError(f"{self.name}: its handler returns an awaitable; call it by `await event(payload)`.")
        return cast("R", value)

    def handler_here(self) -> Handler:
        """Return the handler; raises DeclarationError if this process has none."""
        if self._handler is None:
            raise DeclarationError(f"{self.name}: it has no handler here; import the module that processes it.")
        return self._handler

    def _context(self) -> Context:
        return Context(event_id=str(uuid7()), event=self.name, emitted_ms=now_ms())


def _without_stop_iteration(call: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function; a StopIteration, which no future can carry, becomes what a coroutine makes of it."""
    try:
        return call(*arguments)
    except StopIteration as error:
        raise RuntimeError("the handler raised StopIteration") from error
