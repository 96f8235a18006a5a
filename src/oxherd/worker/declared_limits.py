"""Writes what an event declares of limits to its first queue, before anything is fetched from it."""

from __future__ import annotations

from collections.abc import Iterable

from oxherd.bullmq.limits import LimitFields, declare_limits, max_running_fields, rate_fields
from oxherd.bullmq.per_key import look_at_keys, per_key_fields
from oxherd.bullmq.queue import BullQueue
from oxherd.declaration import Declaration


async def declare(queue: BullQueue, declaration: Declaration, declared: Iterable[Declaration]) -> None:
    """Write the limits of an event and, of each key, of its queue's, where they were declared otherwise before.

    Raises RedisUnavailable, ScriptError.
    """
    await _declare(queue, [*_fields(declaration), *_key_fields(declared)])


async def declare_for_keys(queue: BullQueue, declared: Iterable[Declaration]) -> None:
    """Write the limits of each key of a queue's events, as `declare`."""
    await _declare(queue, _key_fields(declared))


async def _declare(queue: BullQueue, limits: list[LimitFields]) -> None:
    if limits and await declare_limits(queue, limits):
        left = await look_at_keys(queue)
        # Where no event has limits by key any more, those who fetch look at keys only when they find nothing else.
        while left:
            left = await look_at_keys(queue, go_on=True)


def _key_fields(declared: Iterable[Declaration]) -> list[LimitFields]:
    return [per_key_fields(each.name, each.limits.per_key) for each in declared]


def _fields(declaration: Declaration) -> list[LimitFields]:
    # Events that share a queue have none of their own, and must not remove what somebody has set for all of them.
    if not declaration.own_queue:
        return []
    limits = declaration.limits
    return [rate_fields(limits.rate), max_running_fields(limits.max_running)]
