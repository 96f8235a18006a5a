"""Runs a `def` handler where it is called, with a herd's sync middleware and its dependencies around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from inspect import isawaitable, iscoroutine
from typing import Any, Protocol

from oxherd.context import Context
from oxherd.errors import UsageError
from oxherd.resources.resolution import Resolution, call_here


class SyncCallNext(Protocol):
    """What sync middleware is given to call: the next one or, in the end, the handler."""

    def __call__(self, ctx: Context, /) -> object:
        """Go on with the run; its result, or what the handler raised."""
        ...


SyncMiddleware = Callable[[Context, SyncCallNext], object]


class CallOnce:
    """What every `call_next` asks of its caller: the Context of its run, and one call."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._called = False

    def begin(self, context: Context) -> None:
        """Raises UsageError: it is another Context, or the second call."""
        if context is not self._context:
            raise UsageError("Middleware passed on another Context; pass the one that it was given: call_next(ctx).")
        if self._called:
            raise UsageError("Middleware called call_next again; one run is one call, and raise RetryIn for another.")
        self._called = True


def run_here(
    call: Callable[..., Any],
    payload: Any,
    context: Context,
    resolution: Resolution | None,
    middleware: Sequence[SyncMiddleware],
) -> Any:
    """Run a `def` handler in this thread, the first middleware outermost, its dependencies innermost."""
    run = partial(_run, call, payload, resolution)
    if not middleware:
        return run(context)
    once = CallOnce(context)

    def handler(given: Context) -> object:
        once.begin(given)
        value = run(given)
        if isawaitable(value):
            if iscoroutine(value):
                value.close()  # else it warns that nobody awaited it
            raise UsageError("A def handler with sync middleware returned an awaitable; make it an async def.")
        return value

    call_next: SyncCallNext = handler
    for each in reversed(middleware):
        call_next = partial(_around, each, call_next)
    return call_next(context)


def _run(call: Callable[..., Any], payload: Any, resolution: Resolution | None, context: Context) -> Any:
    return call(payload, context) if resolution is None else call_here(call, payload, context, resolution)


def _around(middleware: SyncMiddleware, call_next: SyncCallNext, context: Context, /) -> object:
    return middleware(context, call_next)
