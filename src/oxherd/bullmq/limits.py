"""A queue's limits, in the fields of `meta` that Node's workers read as well; BullMQ's scripts count and obey them."""

from __future__ import annotations

from dataclasses import dataclass

from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.scripts import script
from oxherd.limits import Limits, Rate
from oxherd.redis.client import Argument


@dataclass(frozen=True, slots=True)
class LimitFields:
    """One limit as `meta` has it.

    Attributes:
        declared: the field that keeps what was declared last.
        text: what is declared, the same for equal limits; empty for none.
        fields: what is written when that has changed; an empty value removes the field.
    """

    declared: str
    text: str
    fields: dict[str, str]


def rate_fields(rate: Rate | None) -> LimitFields:
    """A rate, as Node's `setGlobalRateLimit` writes it."""
    count, per_ms = ("", "") if rate is None else (str(rate.count), str(rate.per_ms))
    text = "" if rate is None else f"{count}/{per_ms}"
    return LimitFields("ox:declared:rate", text, {"max": count, "duration": per_ms})


def max_running_fields(most: int | None) -> LimitFields:
    """How many may run at once, as Node's `setGlobalConcurrency` writes it."""
    text = "" if most is None else str(most)
    return LimitFields("ox:declared:max_running", text, {"concurrency": text})


async def declare_limits(queue: BullQueue, limits: list[LimitFields]) -> bool:
    """Write those limits that were declared otherwise before, in one attempt; returns whether there were any.

    Script: declare_limits. Raises RedisUnavailable, ScriptError.
    """
    return await _write(queue, [(each.declared, each) for each in limits])


async def set_limits(queue: BullQueue, limits: list[LimitFields]) -> None:
    """Write limits until a declaration changes them, in one attempt. Script: declare_limits; raises as that."""
    await _write(queue, [("", each) for each in limits])


async def _write(queue: BullQueue, limits: list[tuple[str, LimitFields]]) -> bool:
    k = queue.keys
    arguments: list[Argument] = [k.meta, k.marker, k.limiter, k.rest]
    for declared, each in limits:
        arguments += (declared, each.text, len(each.fields))
        for field, value in each.fields.items():
            arguments += (field, value)
    return await queue.client.script(k.slot, script("declare_limits"), tuple(arguments)) == 1


async def read_limits(queue: BullQueue) -> Limits:
    """The queue's rate and how many may run at once, whoever has set them, in one attempt.

    Command: HMGET. Raises RedisUnavailable, ScriptError; ValueError if what is stored is not what BullMQ writes.
    """
    k = queue.keys
    fields = await queue.client.call(k.slot, "HMGET", k.meta, "max", "duration", "concurrency")
    count, per_ms, most = (None if field is None else int(field) for field in fields)
    # BullMQ takes no notice of a duration without a number.
    return Limits(None if count is None else Rate(count, per=(per_ms or 0) / 1000), most)
