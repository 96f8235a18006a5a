"""Futures and tasks that several wait for, or nobody any more."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from oxherd.redis.error_mapping import lost

T = TypeVar("T")


async def shared(task: asyncio.Task[T], name: str) -> T:
    """The result of a task that several wait for.

    Raises:
        RedisUnavailable: it was ended since the connection to `name` is closed; to those who wait, that is no
            cancellation of their own.
    """
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        current = asyncio.current_task()
        if not task.cancelled() or (current is not None and current.cancelling()):
            raise
    raise lost(name, "the connection is closed", maybe_applied=False)


def retrieve(future: asyncio.Future[Any]) -> None:
    """Mark the exception of a future as seen, which whoever awaits it is told, and nobody may be left who does."""
    if not future.cancelled():
        future.exception()
