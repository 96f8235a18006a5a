"""An event's shards, as its emitter sees them: which of its queues an event goes to."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable

from oxherd.declaration import Declaration, key_of
from oxherd.errors import RedisUnavailable
from oxherd.queue.job import NewJob
from oxherd.queue.layouts import Layouts
from oxherd.queue.queue import BullQueue
from oxherd.queue.shards import shard_of, shard_queues
from oxherd.redis.client import ScriptError

# How long the queues of other numbers of shards may take to say whether they hold an id.
_LOOK_SECONDS = 1.0
_NUMBERS_SECONDS = 3600.0


class Sharded:
    """One event's shards on one connection."""

    def __init__(self, declaration: Declaration, layouts: Layouts, queue_named: Callable[[str], BullQueue]) -> None:
        self._declaration = declaration
        self._layouts = layouts
        self._queue_named = queue_named
        self._queues = [queue_named(name) for name in shard_queues(declaration.name, declaration.shards)]
        # Each process begins elsewhere: those that emit one event each reach all shards, too.
        self._turns = itertools.cycle(random.sample(range(declaration.shards), declaration.shards))
        self._others: list[int] = []
        self._looked_at = -_NUMBERS_SECONDS

    async def ready(self) -> None:
        """Before events are added: see to it that workers know of these shards; asks Redis once an hour.

        Raises:
            RedisUnavailable, ScriptError: as `Layouts.say`, which waits for as long as it is let.
        """
        if self._declaration.says_shards:
            await self._layouts.say(self._declaration.shards, latest=True)

    def queue(self, job: NewJob, *, own_id: bool) -> BullQueue:
        """The queue of a job: by its key, else by its id where the caller has chosen that, else the next in turn.

        Raises:
            UsageError: the event's key function failed.
        """
        word = self._word(job, own_id=own_id)
        return self._queues[next(self._turns) if word is None else shard_of(word, len(self._queues))]

    async def holder(self, job: NewJob) -> BullQueue | None:
        """Which queue holds a job of that id, which the caller has chosen, since the event had other shards; or has
        held it, if it is to be added once.

        What does not answer within a second is taken for holding none.
        """
        word = self._word(job, own_id=True) or b""
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                queues = [self._place(number, word) for number in await self._numbers()]
                looks = [queue.holds(job.id, marked=job.once_ms > 0) for queue in queues]
                answers = await asyncio.gather(*looks, return_exceptions=True)
        except (RedisUnavailable, ScriptError, TimeoutError):  # reported as an outage, if it is one
            return None
        return next((queue for queue, answer in zip(queues, answers, strict=True) if answer is True), None)

    def _word(self, job: NewJob, *, own_id: bool) -> bytes | None:
        declaration = self._declaration
        payload = declaration.payload
        key = None if declaration.key is None else key_of(declaration, payload.decode(payload.open(job.data)))
        return job.id.encode() if key is None and own_id else key

    async def _numbers(self) -> list[int]:
        if time.monotonic() - self._looked_at > _NUMBERS_SECONDS:
            known = await self._layouts.known(all_copies=self._declaration.shards > 1)
            numbers = {1, *(layout.shards for layout in known)}
            self._others = sorted(numbers - {self._declaration.shards})
            self._looked_at = time.monotonic()
        return self._others

    def _place(self, number: int, word: bytes) -> BullQueue:
        return self._queue_named(shard_queues(self._declaration.name, number)[shard_of(word, number)])
