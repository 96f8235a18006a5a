"""Calls an event's handler directly, for unit tests."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from uuid_utils.compat import uuid7

from oxherd.bullmq.clock import now_ms
from oxherd.context import Context
from oxherd.direct_call import call_directly, call_in_this_thread
from oxherd.errors import DeclarationError
from oxherd.handler import Handler

if TYPE_CHECKING:
    from oxherd.app import Oxherd

P = TypeVar("P")
R = TypeVar("R")


class HandlerCall(ABC, Generic[P, R]):
    """The part of an event that calls its handler."""

    _handler: Handler | None

    @property
    @abstractmethod
    def name(self) -> str: ...

    @property
    @abstractmethod
    def herd(self) -> Oxherd: ...

    async def __call__(self, payload: P, ctx: Context | None = None, /, **dependencies: Any) -> R:
        """Run the handler directly, for unit tests: no queue, no log, no retry, no validation, no middleware.

        Dependencies that are not passed by name are made, and closed.

        Raises:
            DeclarationError: the event has no handler here.
            UsageError: the handler has no dependency of that name, or a lifespan that it needs is not open.
        """
        context, resources = ctx or self._context(), self.herd.resources
        return cast("R", await call_directly(self.handler_here(), resources, payload, context, dependencies))

    def call(self, payload: P, ctx: Context | None = None, /, **dependencies: Any) -> R:
        """Run a `def` handler directly, in this very thread, for unit tests; otherwise as `await event(payload)`.

        Raises:
            DeclarationError: the event has no handler here.
            UsageError: the handler, or a dependency that is not passed, is an `async def`.
        """
        context, resources = ctx or self._context(), self.herd.resources
        return cast("R", call_in_this_thread(self.handler_here(), resources, payload, context, dependencies))

    def handler_here(self) -> Handler:
        """Return the handler; raises DeclarationError if this process has none."""
        if self._handler is None:
            raise DeclarationError(f"{self.name}: it has no handler here; import the module that processes it.")
        return self._handler

    def _context(self) -> Context:
        return Context(event_id=str(uuid7()), event=self.name, emitted_ms=now_ms())
