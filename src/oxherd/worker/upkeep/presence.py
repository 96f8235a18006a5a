"""Keeps a worker visible to BullMQ's `getWorkers`, which finds it by its waiting connection."""

from __future__ import annotations

import asyncio

from oxherd.redis.retry import retry
from oxherd.worker.background_loop import BackgroundLoop
from oxherd.worker.fetching.fetcher import Fetcher

_LOOK_SECONDS = 5.0


class Presence(BackgroundLoop):
    """Keeps one queue's waiting connection open, which a busy worker neither opens nor misses."""

    def __init__(self, queue: str, fetcher: Fetcher) -> None:
        super().__init__(f"oxherd-presence-{queue}")
        self._fetcher = fetcher

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await retry(self._fetcher.keep_connected)
            await asyncio.sleep(_LOOK_SECONDS)
