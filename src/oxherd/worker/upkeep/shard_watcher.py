"""Serves every shard of an event, also those that only other processes declare."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from oxherd.bullmq.shard_registry import ShardRegistry
from oxherd.redis.client import ScriptError
from oxherd.redis.retry import retry
from oxherd.worker.background_loop import BackgroundLoop
from oxherd.worker.fault_reporter import FaultReporter

_LOOK_SECONDS = 30.0
_STEP = 8
_STEP_SECONDS = 0.05


class ShardWatcher(BackgroundLoop):
    """Announces one event's shard count, and passes the highest that is in use to `serve`."""

    def __init__(
        self, queue: str, registry: ShardRegistry, faults: FaultReporter, serve: Callable[[int], None]
    ) -> None:
        super().__init__(f"oxherd-shards-{queue}")
        self._registry = registry
        self._faults = faults
        self._serve = serve
        self._served = 0

    async def run(self) -> None:
        """Look until cancelled, through outages."""
        while True:
            try:
                # A worker hands ticks to the shards that it declares.
                await self._registry.announce()
                await self._serve_in_steps(await retry(self._registry.most, deadline=None))
            except ScriptError as error:
                self._faults.lasting("fetch", error)
            else:
                self._faults.mended("fetch")
            await asyncio.sleep(_LOOK_SECONDS)

    async def _serve_in_steps(self, shards: int) -> None:
        # Any program may have written the number: the loop must not be held up, nor the server flooded.
        while self._served < shards:
            self._served = min(self._served + _STEP, shards)
            self._serve(self._served)
            await asyncio.sleep(_STEP_SECONDS)
