"""Makes delayed jobs due at once, for tests."""

from __future__ import annotations

from typing import Any

from oxherd.bullmq.clock import now_ms
from oxherd.bullmq.per_key import look_at_keys
from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.scripts import script

_TICK = b"repeat:"
# As includes/keyed.lua has it.
_HELD = 0xFFF


async def promote_delayed(queue: BullQueue, *, until_ms: float, ticks: bool) -> int:
    """Make due what is delayed until `until_ms` (milliseconds since the Unix epoch); returns how many jobs that were.

    `ticks`: those of schedules as well. A queue or a key goes on that waits for a retry in order, for the end of a
    rate's window, or rests. Scripts: promote, look_at_keys; commands: ZRANGE, PTTL, DEL.
    """
    k, client = queue.keys, queue.client
    promoted = 0
    limits, held = await _limited_keys(queue)
    # A delayed job's time is in its score's upper bits.
    flat: list[Any] = await client.call(k.slot, "ZRANGE", k.delayed, 0, -1, "WITHSCORES")
    for job_id, score in zip(flat[::2], flat[1::2], strict=True):
        due = int(float(score))
        is_held = job_id in held and due % 0x1000 == _HELD
        if is_held or due / 0x1000 > until_ms or (bytes(job_id).startswith(_TICK) and not ticks):
            continue
        promoted += await promote(queue, job_id) == 0
    for key in (k.held, k.limiter, k.rest, *limits):
        if 0 < int(await client.call(k.slot, "PTTL", key)) <= until_ms - now_ms():
            await client.call(k.slot, "DEL", key)
            await queue.wake()
    if limits:
        await look_at_keys(queue)
    return promoted


async def _limited_keys(queue: BullQueue) -> tuple[list[str], set[bytes]]:
    """What limits the keys that hold something back, and what they hold back: that is not delayed. Command: ZRANGE."""
    k, client = queue.keys, queue.client
    limits: list[str] = []
    held: set[bytes] = set()
    for limit_key in await client.call(k.slot, "ZRANGE", k.limited_keys, 0, -1):
        key = f"{k.base}key:{bytes(limit_key).decode()}:"
        limits += (f"{key}rate", f"{key}rest")
        held.update(await client.call(k.slot, "ZRANGE", f"{key}held", 0, -1))
    return limits, held


async def promote(queue: BullQueue, job_id: bytes) -> int:
    """Make a delayed job due; returns 0, or less if it is not delayed. Script: promote."""
    k = queue.keys
    keys = (k.delayed, k.wait, k.paused, k.meta, k.prioritized, k.active, k.pc, k.events, k.marker)
    return int(await queue.client.script(k.slot, script("promote"), (*keys, k.base, job_id)))


async def unfinished(queue: BullQueue) -> dict[str, int]:
    """The number of jobs in each state in which something is still to come, without ticks that are not due yet.

    Beside the states `outbox`, the messages that are still to be sent. Script: getCounts; commands: HLEN, ZRANGE.
    """
    ids: list[Any] = await queue.client.call(queue.keys.slot, "ZRANGE", queue.keys.delayed, 0, -1)
    # All at one moment, after the ticks were counted: a job that comes due in between must not be in no state.
    counts = await queue.counts()
    counts["delayed"] = max(0, counts["delayed"] - sum(bytes(job_id).startswith(_TICK) for job_id in ids))
    states = ("wait", "prioritized", "paused", "active", "delayed")
    left = {state: counts[state] for state in states if counts[state]}
    messages = int(await queue.client.call(queue.keys.slot, "HLEN", queue.keys.outbox))
    return left | ({"outbox": messages} if messages else {})
