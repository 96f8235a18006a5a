"""Pauses and resumes a queue, as Node's `Queue.pause` and `Queue.resume` do."""

from __future__ import annotations

from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.scripts import script


async def set_paused(queue: BullQueue, paused: bool) -> None:
    """Pause a queue or resume it, whatever it is, in one attempt. Script: pause.

    Raises:
        RedisUnavailable, ScriptError: as `Client.call`.
    """
    k = queue.keys
    source, target = (k.wait, k.paused) if paused else (k.paused, k.wait)
    keys = (source, target, k.meta, k.prioritized, k.events, k.delayed, k.marker)
    told = False
    while True:
        arguments = (*keys, "paused" if paused else "resumed", "0" if told else "1")
        left = int(await queue.client.script(k.slot, script("pause"), arguments))
        # Of a queue that BullMQ 5 has paused, a resume moves 7,000 jobs at a time.
        if left <= 0:
            return
        told = True


async def is_paused(queue: BullQueue) -> bool:
    """Whether a queue is paused. Command: HMGET. Raises as `set_paused`."""
    (paused,) = await queue.client.call(queue.keys.slot, "HMGET", queue.keys.meta, "paused")
    return paused is not None


async def inherit_pause(home: BullQueue, shard: BullQueue) -> None:
    """Pause a shard if its event is, which the event's first queue says. Raises as `set_paused`.

    Who pauses or resumes an event does so on its first queue, and then asks for the number of its shards. So where the
    first queue is as it was before, after the shard has been changed, nobody has missed this shard.
    """
    if not await is_paused(home) or await is_paused(shard):
        return
    paused = True
    while True:
        await set_paused(shard, paused)
        now = await is_paused(home)
        if now == paused:
            return
        paused = now
