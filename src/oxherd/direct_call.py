"""Runs a handler without a worker: for unit tests, and for `inline`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from inspect import isawaitable
from typing import Any

from oxherd.context import Context
from oxherd.errors import UsageError
from oxherd.handler import Handler
from oxherd.resources.declared import Resources, needs_beside
from oxherd.resources.resolution import Resolution, call_here, call_in_loop


async def call_directly(
    handler: Handler, resources: Resources, payload: Any, context: Context, given: dict[str, Any]
) -> Any:
    """Run a handler, a `def` in another thread; what it needs beside what is `given` is made."""
    needs = needs_beside(context.event, handler.needs, given)
    call = partial(handler.call, **given)
    if needs:
        resolution = resources.resolution(needs, context)
        return await call_resolved(handler, call, payload, context, resolution, in_thread=True)
    if handler.run_in == "loop":
        value = call(payload, context)
    else:
        value = await asyncio.to_thread(_without_stop_iteration, call, payload, context)
    while isawaitable(value):
        value = await value
    return value


def call_in_this_thread(
    handler: Handler, resources: Resources, payload: Any, context: Context, given: dict[str, Any]
) -> Any:
    """Run a `def` handler in this very thread; what it needs beside what is `given` is made.

    Raises:
        UsageError: the handler, or what it needs, is async.
    """
    name = context.event
    if handler.run_in == "loop":
        raise UsageError(f"{name}: its handler is an async def; call it by `await event(payload)`.")
    needs = needs_beside(name, handler.needs, given)
    call = partial(handler.call, **given)
    if needs:
        return call_here(call, payload, context, resources.resolution(needs, context))
    value = call(payload, context)
    if isawaitable(value):
        close = getattr(value, "close", None)  # a coroutine that is not awaited warns
        if close is not None:
            close()
        raise UsageError(f"{name}: its handler returns an awaitable; call it by `await event(payload)`.")
    return value


async def call_resolved(
    handler: Handler,
    call: Callable[..., Any],
    payload: Any,
    context: Context,
    resolution: Resolution,
    *,
    in_thread: bool = False,
) -> Any:
    """Run a handler with its dependencies; `in_thread`: a `def` in another thread, else here."""
    if handler.run_in == "loop":
        return await call_in_loop(call, payload, context, resolution)
    async with AsyncExitStack() as stack:
        await resolution.before(stack)
        if in_thread:
            return await asyncio.to_thread(_without_stop_iteration, call_here, call, payload, context, resolution)
        return call_here(call, payload, context, resolution)
    return None  # a dependency has taken the error


def _without_stop_iteration(call: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function; a StopIteration, which no future can carry, becomes what a coroutine makes of it."""
    try:
        return call(*arguments)
    except StopIteration as error:
        raise RuntimeError("the handler raised StopIteration") from error
