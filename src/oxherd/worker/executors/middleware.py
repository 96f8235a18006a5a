"""Runs a herd's middleware around each run of a handler, wherever that runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from oxherd.context import Context
from oxherd.errors import HandlerRaised
from oxherd.resources.declared import CallNext, Middleware
from oxherd.resources.sync_middleware import CallOnce
from oxherd.worker.running.execution import HandlerRun
from oxherd.worker.running.failure import Raised
from oxherd.worker.running.result import JSONResult, is_awaitable
from oxherd.worker.served_events import Executor


class MiddlewareExecutor:
    """An executor with middleware around it, the first outermost."""

    def __init__(self, executor: Executor, middleware: Sequence[Middleware]) -> None:
        self._executor = executor
        self._middleware = tuple(reversed(middleware))

    async def call(self, run: HandlerRun, payload: Any, /) -> Any:
        """Run the middleware and, where it calls, the handler."""
        handler = _HandlerCall(self._executor, run, payload)
        call_next: CallNext = handler
        for middleware in self._middleware:
            call_next = _around(middleware, call_next)
        try:
            return handler.stored(await call_next(run.context))
        except HandlerRaised as error:
            if error is handler.failure and handler.raised is not None:
                return handler.raised
            raise

    async def close(self) -> None:
        """End what the executor has started."""
        await self._executor.close()


def _around(middleware: Middleware, call_next: CallNext) -> CallNext:
    return lambda context: middleware(context, call_next)


class _HandlerCall:
    """The innermost `call_next`: the handler itself.

    Of one in a process of its own there are only a description of its error and its result as JSON: the middleware sees
    a HandlerRaised and the plain values, and what it passes on becomes again what they stand for.
    """

    def __init__(self, executor: Executor, run: HandlerRun, payload: Any) -> None:
        self._executor = executor
        self._run = run
        self._payload = payload
        self._once = CallOnce(run.context)
        self._json: JSONResult | None = None
        self._plain: object = None
        self.raised: Raised | None = None
        self.failure: HandlerRaised | None = None

    async def __call__(self, context: Context, /) -> object:
        self._once.begin(context)
        value = await self._executor.call(self._run, self._payload)
        while is_awaitable(value):
            value = await value
        if type(value) is Raised:
            self.raised, self.failure = value, HandlerRaised(value.error.type, value.error.message)
            raise self.failure
        if type(value) is JSONResult:
            self._json, self._plain = value, json.loads(value.json)
            return self._plain
        return value

    def stored(self, value: object) -> object:
        """What is stored of what the outermost middleware returned."""
        return self._json if self._json is not None and value is self._plain else value
