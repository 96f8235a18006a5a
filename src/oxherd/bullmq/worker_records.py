"""The registry of workers: each keeps a record of itself in the queues that it serves, which expires with it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.scripts import script
from oxherd.bullmq.worker_info import WorkerInfo, WorkerRecord, merged, parse
from oxherd.redis.retry import retry_until

# A worker that is silent for longer is gone: four heartbeats.
SILENCE_MS = 20_000
_MOST = 2_000
_MOST_BYTES = 64 * 1024
_MOST_BYTES_OF_ALL = 16 * 1024 * 1024


class QueueNews(NamedTuple):
    """Whether a queue is paused, and whether any version has schedules in code."""

    paused: bool
    has_schedules: bool


async def beat(queue: BullQueue, record: WorkerRecord) -> QueueNews:
    """Write a worker's record, and drop the workers that are gone; returns what it is to know of the queue.

    Script: heartbeat.

    Raises:
        RedisUnavailable, ScriptError: as `Client.call`.
    """
    k = queue.keys
    arguments = (k.workers, k.worker(record.id), k.meta, k.declared, record.id, record.to_json(), SILENCE_MS, _MOST)
    paused, has_schedules = await queue.client.script(k.slot, script("heartbeat"), arguments)
    return QueueNews(paused == 1, has_schedules == 1)


async def remove(queue: BullQueue, worker: str) -> None:
    """Remove a worker's record. Commands: DEL, ZREM. Raises as `beat`."""
    k, call = queue.keys, queue.client.call
    await asyncio.gather(call(k.slot, "DEL", k.worker(worker)), call(k.slot, "ZREM", k.workers, worker))


async def worker_info(queue: BullQueue, worker: str) -> WorkerInfo | None:
    """A worker of a queue by its id, such as a job's `pb`; None if it is gone, or was none of ours. Script: workers.

    Its record is in the event's plain queue, not in its shards.

    Raises:
        RedisUnavailable: as `Client.call`.
    """
    return next(iter(await _read(queue, worker)), None)


async def live_workers(queues: Iterable[BullQueue], *, timeout: float) -> list[WorkerInfo]:
    """The workers of several queues, at most 2,000 of each, sorted by `since`. Script: workers.

    Retried through outages for `timeout` seconds.

    Raises:
        RedisUnavailable: a queue's server cannot be reached.
    """
    deadline = time.monotonic() + timeout

    async def read(queue: BullQueue) -> list[WorkerInfo]:
        return await retry_until(deadline, lambda: _read(queue))

    found = await asyncio.gather(*map(read, queues))
    return merged(info for each in found for info in each)


async def _read(queue: BullQueue, *workers: str) -> list[WorkerInfo]:
    k = queue.keys
    arguments = (k.workers, k.worker(""), SILENCE_MS, _MOST, _MOST_BYTES, _MOST_BYTES_OF_ALL, *workers)
    reply: list[Any] = await queue.client.script(k.slot, script("workers"), arguments)
    return [info for each in reply if (info := parse(*each)) is not None]
