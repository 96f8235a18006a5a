"""Lets an event rest, on all queues that its worker serves: a limit that is not ours is reached."""

from __future__ import annotations

import asyncio

from oxherd.bullmq.job import Job
from oxherd.bullmq.queue import BullQueue
from oxherd.errors import RedisUnavailable
from oxherd.redis.client import ScriptError
from oxherd.worker.served_queue import ServedQueue


async def rest(served: ServedQueue, job: Job, rest_ms: int, runs: str) -> int:
    """Put a job back at the head of its queue and let its event rest; returns as `BullQueue.requeue_at_rest`.

    Other shards are told once: one that cannot be reached goes on until its own runs meet the limit.
    """
    rest_ms = max(1, rest_ms)  # an expiry
    reply = await served.queue.requeue_at_rest(job, rest_ms, runs)

    async def rest_one(queue: BullQueue) -> None:
        try:
            await queue.rest(rest_ms)
        except RedisUnavailable:  # reported as an outage
            return
        except ScriptError as error:
            served.faults.lasting("finish", error)

    if reply >= 0:
        await asyncio.gather(*(rest_one(each) for each in served.siblings() if each is not served.queue))
    return reply
