"""An event's limits for each of its keys, of which BullMQ knows nothing (`lua/includes/keyed.lua`)."""

from __future__ import annotations

from dataclasses import dataclass

from oxherd.bullmq.job import Job
from oxherd.bullmq.limits import LimitFields
from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.scripts import script
from oxherd.limits import PerKey, Rate

# Jobs of a list that are looked at.
_SAMPLE = 500


@dataclass(frozen=True, slots=True)
class BusiestKey:
    """The key of which most of a queue waits: by a sample, `jobs` of all the `total`; `held` are held back.

    `example` is the id of one of them.
    """

    total: int
    jobs: int
    held: int
    paused: bool
    example: bytes


def per_key_fields(event: str, per_key: PerKey | None) -> LimitFields:
    """The limits of each key of an event, in a field of `meta`: how many at once, in a window, and its milliseconds."""
    text = ""
    if per_key is not None:
        rate = per_key.rate
        count, per_ms = (0, 0) if rate is None else (rate.count, rate.per_ms)
        text = f"{per_key.max_running or 0}/{count}/{per_ms}"
    return LimitFields(f"ox:declared:per_key:{event}", text, {f"ox:per_key:{event}": text})


async def read_per_key(queue: BullQueue, event: str) -> PerKey | None:
    """The limits of each key of an event, in one attempt; None if it has none.

    Command: HMGET. Raises RedisUnavailable, ScriptError; ValueError if what is stored is not what we write.
    """
    k = queue.keys
    (text,) = await queue.client.call(k.slot, "HMGET", k.meta, f"ox:per_key:{event}")
    if text is None:
        return None
    most, count, per_ms = (int(number) for number in bytes(text).decode("ascii").split("/"))
    return PerKey(most or None, Rate(count, per=per_ms / 1000) if count else None)


async def look_at_keys(queue: BullQueue) -> None:
    """Let go what keys hold back, as far as their limits allow by now, in one attempt. Script: look_at_keys.

    Raises RedisUnavailable, ScriptError.
    """
    k = queue.keys
    await queue.client.script(k.slot, script("look_at_keys"), (k.limited_keys, k.base))


async def key_job(queue: BullQueue, job: Job, limit_key: str) -> int:
    """Note what a job's limits go by, and put it back at the head of the queue, at no attempt.

    Redis: the job's fields `ox:key` and `ox:turn`. Script: moveJobFromActiveToWait. Raises as `BullQueue.requeue`.
    """
    arguments = (*queue.requeue_arguments(job.id, job.token), limit_key)
    return int(await queue.client.script(queue.keys.slot, script("key_job"), arguments))


async def set_key_paused(queue: BullQueue, limit_key: str, paused: bool) -> None:
    """Pause a key or resume it, whatever it is, in one attempt. Script: pause_key.

    Raises:
        RedisUnavailable, ScriptError: as `Client.script`.
    """
    k = queue.keys
    arguments = (k.paused_keys, k.limited_keys, k.base, limit_key, "1" if paused else "0")
    await queue.client.script(k.slot, script("pause_key"), arguments)


async def busiest_key(queue: BullQueue) -> BusiestKey | None:
    """The key of which most of a queue waits, in one attempt; None if nothing waits that has one.

    Script: busiest_key, which looks at up to 1,000 jobs. Raises as `set_key_paused`.
    """
    k = queue.keys
    arguments = (k.wait, k.delayed, k.prioritized, k.paused_keys, k.base, _SAMPLE)
    reply = await queue.client.script(k.slot, script("busiest_key"), arguments)
    if not reply:
        return None
    total, jobs, held, paused, example = reply
    return BusiestKey(total, jobs, held, paused == 1, example)
