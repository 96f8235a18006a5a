"""Remembers in Redis the largest number of shards that an event was emitted with, so that workers serve them all."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from oxherd.bullmq.keys import QueueKeys
from oxherd.declaration import MAX_SHARDS, Declaration
from oxherd.redis.client import Client
from oxherd.redis.retry import retry

_WAIT_SECONDS = 1.0
# A failover may lose the announcement.
_REPEAT_SECONDS = 3600.0

_MEMBER = "most"


class ShardRegistry:
    """One event's number of shards: as declared, and the largest that any process has announced.

    Key: `shards`, under the event's plain queue, a sorted set of one member whose score only grows.
    """

    def __init__(self, client: Client, home: QueueKeys, declaration: Declaration) -> None:
        self._client = client
        self._slot = home.slot
        self._key = home.base + "shards"
        self._declared = declaration.shards
        self._announcing: asyncio.Task[Any] | None = None
        self._announced_at = 0.0

    async def announce(self) -> None:
        """Announce the declared number, at most hourly; after a second this continues in the background. Command: ZADD.

        Raises:
            ScriptError: the key is damaged.
        """
        if self._declared == 1:
            return  # every worker serves the plain queue
        task = self._announcing
        if task is None or (task.done() and (_failed(task) or time.monotonic() - self._announced_at > _REPEAT_SECONDS)):
            self._announced_at = time.monotonic()
            task = self._announcing = asyncio.ensure_future(retry(self._announce))
        left = self._announced_at + _WAIT_SECONDS - time.monotonic()
        if left > 0:
            await asyncio.wait([task], timeout=left)
        if task.done() and _failed(task):
            task.result()

    async def most(self) -> int:
        """The number of shards that may hold events. Command: ZSCORE.

        Raises:
            RedisUnavailable, ScriptError: as `Client.call`.
        """
        announced = await self._client.call(self._slot, "ZSCORE", self._key, _MEMBER)
        return int(max(self._declared, min(MAX_SHARDS, float(announced or 0))))

    def close(self) -> None:
        """Stop announcing."""
        if self._announcing is not None:
            self._announcing.cancel()

    async def _announce(self) -> None:
        await self._client.call(self._slot, "ZADD", self._key, "GT", self._declared, _MEMBER)


def _failed(task: asyncio.Task[Any]) -> bool:
    return not task.cancelled() and task.exception() is not None
