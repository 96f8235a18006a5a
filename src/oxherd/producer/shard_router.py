"""Which of an event's queues an emitted event goes to."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable

from oxherd.bullmq.job import NewJob
from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.shard_registry import ShardRegistry
from oxherd.bullmq.shards import shard_of, shard_queues, shards_of
from oxherd.declaration import Declaration, key_of
from oxherd.errors import RedisUnavailable
from oxherd.redis.client import ScriptError

# How long the other shards may take to say whether they hold an id, and for how long their number is taken as known.
_LOOK_SECONDS = 1.0
_KNOWN_SECONDS = 60.0


class ShardRouter:
    """One event's shards on one connection."""

    def __init__(
        self, declaration: Declaration, registry: ShardRegistry, queue_named: Callable[[str], BullQueue]
    ) -> None:
        self._declaration = declaration
        self._registry = registry
        self._queue_named = queue_named
        self._queues = [queue_named(name) for name in shard_queues(declaration.name, declaration.shards)]
        # Each process begins elsewhere: those that emit one event each reach all shards, too.
        self._turns = itertools.cycle(random.sample(range(declaration.shards), declaration.shards))
        self._most = declaration.shards
        self._asked_at = -_KNOWN_SECONDS

    def queue(self, job: NewJob, *, own_id: bool) -> BullQueue:
        """The queue of a job: by its key, else by its id where the caller has chosen that, else the next in turn.

        Raises:
            UsageError: the event's key function failed.
        """
        key = self._key(job, own_id=own_id)
        return self._queues[next(self._turns) if key is None else shard_of(key, self._declaration.shards)]

    async def holder(self, job: NewJob) -> BullQueue | None:
        """The queue of another number of shards that holds the id of a job, which the caller has chosen, or has held it
        if it is to be added once.

        What does not answer within a second is taken for holding none.
        """
        key = self._key(job, own_id=True) or b""
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                most = await self._known_most()
                names = shard_queues(self._declaration.name, most)
                others = {*shards_of(key, most)} - {shard_of(key, self._declaration.shards)}
                queues = [self._queue_named(names[shard]) for shard in others]
                looks = [queue.holds(job.id, marked=job.once_ms > 0) for queue in queues]
                answers = await asyncio.gather(*looks, return_exceptions=True)
        except (RedisUnavailable, ScriptError, TimeoutError):  # reported as an outage, if it is one
            return None
        return next((queue for queue, answer in zip(queues, answers, strict=True) if answer is True), None)

    def _key(self, job: NewJob, *, own_id: bool) -> bytes | None:
        declaration = self._declaration
        payload = declaration.payload
        key = None if declaration.key is None else key_of(declaration, payload.decode(payload.open(job.data)))
        return job.id.encode() if key is None and own_id else key

    async def _known_most(self) -> int:
        if time.monotonic() - self._asked_at > _KNOWN_SECONDS:
            self._most = await self._registry.most()
            self._asked_at = time.monotonic()
        return self._most
