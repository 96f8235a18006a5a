"""Chooses the queue that an event goes to, among its shards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from oxherd.bullmq.job import NewJob, is_event_id
from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.shard_registry import ShardRegistry
from oxherd.bullmq.shards import shard_of, shard_queues, shards_of
from oxherd.declaration import Declaration, key_of
from oxherd.errors import RedisUnavailable
from oxherd.redis.client import ScriptError

_LOOKUP_SECONDS = 1.0
_MOST_CACHED_SECONDS = 60.0


class ShardRouter:
    """One event's shards on one backend."""

    def __init__(
        self, declaration: Declaration, registry: ShardRegistry, queue_named: Callable[[str], BullQueue]
    ) -> None:
        self._declaration = declaration
        self._registry = registry
        self._queue_named = queue_named
        self._queues = [queue_named(name) for name in shard_queues(declaration.name, declaration.shards)]
        self._most = declaration.shards
        self._most_read_at = -_MOST_CACHED_SECONDS

    def queue(self, job: NewJob) -> BullQueue:
        """Return a job's queue: by its key, else by its id.

        Raises:
            UsageError: the event's key function failed.
        """
        return self._queues[shard_of(self._key(job), self._declaration.shards)]

    async def places(self, job_id: str) -> list[BullQueue]:
        """Return the queues that may hold a job, also of a time with another number of shards.

        Those are all if the event has a key, or if another program chose the id.

        Raises:
            RedisUnavailable, ScriptError: as `Client.call`.
        """
        most = await self._read_most()
        names = await self._names(most)
        anywhere = self._declaration.key is not None or not is_event_id(job_id)
        shards = range(most) if anywhere else dict.fromkeys(reversed(shards_of(job_id.encode(), most)))
        return [self._queue_named(names[shard]) for shard in shards]

    async def holder(self, job: NewJob) -> BullQueue | None:
        """Return the queue that holds a job's id since the event had another number of shards, or None.

        With `once`, a queue that has held it counts as well. A shard that does not answer within a second is taken to
        hold nothing.
        """
        key = self._key(job)
        try:
            async with asyncio.timeout(_LOOKUP_SECONDS):
                most = await self._read_most()
                names = await self._names(most)
                others = {*shards_of(key, most)} - {shard_of(key, self._declaration.shards)}
                queues = [self._queue_named(names[shard]) for shard in others]
                lookups = [queue.holds(job.id, marked=job.once_ms > 0) for queue in queues]
                answers = await asyncio.gather(*lookups, return_exceptions=True)
        except (RedisUnavailable, ScriptError, TimeoutError):  # an outage is reported by the connection
            return None
        return next((queue for queue, answer in zip(queues, answers, strict=True) if answer is True), None)

    async def _names(self, most: int) -> tuple[str, ...]:
        name = self._declaration.name
        if most == self._declaration.shards:
            return shard_queues(name, most)
        # To name many for the first time takes long, and any program may have written their number.
        return await asyncio.to_thread(shard_queues, name, most)

    def _key(self, job: NewJob) -> bytes:
        """What decides a job's shard."""
        declaration = self._declaration
        payload = declaration.payload
        key = None if declaration.key is None else key_of(declaration, payload.decode(payload.open(job.data)))
        return job.id.encode() if key is None else key

    async def _read_most(self) -> int:
        if time.monotonic() - self._most_read_at > _MOST_CACHED_SECONDS:
            self._most = await self._registry.most()
            self._most_read_at = time.monotonic()
        return self._most
