"""Writes what an event declares of limits to its first queue, before anything is fetched from it."""

from __future__ import annotations

from oxherd.bullmq.limits import LimitFields, declare_limits, max_running_fields, rate_fields
from oxherd.bullmq.queue import BullQueue
from oxherd.declaration import Declaration


async def declare(queue: BullQueue, declaration: Declaration) -> None:
    """Write an event's limits, where they were declared otherwise before. Raises RedisUnavailable, ScriptError."""
    limits = _fields(declaration)
    if limits:
        await declare_limits(queue, limits)


def _fields(declaration: Declaration) -> list[LimitFields]:
    # Events that share a queue have none of their own, and must not remove what somebody has set for all of them.
    if not declaration.own_queue:
        return []
    limits = declaration.limits
    return [rate_fields(limits.rate), max_running_fields(limits.max_running)]
