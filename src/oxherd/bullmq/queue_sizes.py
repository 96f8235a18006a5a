"""How large those keys of a queue are that something has to keep short."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from oxherd.bullmq.job_sets import number
from oxherd.bullmq.queue import BullQueue

# BullMQ's own bound of the event stream, where a queue has none of its own.
_DEFAULT_MOST_EVENTS = 10_000


@dataclass(frozen=True, slots=True)
class QueueSizes:
    """Sizes of a queue's keys.

    Attributes:
        events: the length of its event stream, and `most_events` what it is cut to as it is written.
        outbox: how many messages no relay has sent yet.
    """

    queue: str
    events: int
    most_events: int
    outbox: int


async def queue_sizes(queue: BullQueue) -> QueueSizes:
    """The sizes of a queue. Commands: XLEN, HLEN, HGET.

    Raises:
        RedisUnavailable, ScriptError: as `Client.call`.
    """
    k, call = queue.keys, queue.client.call
    events, outbox, most = await asyncio.gather(
        call(k.slot, "XLEN", k.events),
        call(k.slot, "HLEN", k.outbox),
        call(k.slot, "HGET", k.meta, "opts.maxLenEvents"),
    )
    return QueueSizes(k.queue, int(events), number(most) or _DEFAULT_MOST_EVENTS, int(outbox))
