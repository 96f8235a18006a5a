"""Futures and tasks that several callers await, or none any more."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from oxherd.redis.error_mapping import unreachable

T = TypeVar("T")


async def await_shared(task: asyncio.Task[T], name: str) -> T:
    """The result of a task that several callers await.

    Raises:
        RedisUnavailable: the task was cancelled because the connection to `name` is closed, which is no cancellation
            of the caller.
    """
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        current = asyncio.current_task()
        if not task.cancelled() or (current is not None and current.cancelling()):
            raise
    raise unreachable(name, "the connection is closed", maybe_applied=False)


def mark_retrieved(future: asyncio.Future[Any]) -> None:
    """Keep asyncio from logging an exception that nobody may be left to await."""
    if not future.cancelled():
        future.exception()
