"""Sees to it that every shard of an event is served, also those that only others declare."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from oxherd.bullmq.shard_registry import ShardRegistry
from oxherd.redis.client import ScriptError
from oxherd.redis.retry import retry
from oxherd.worker.fault_reporter import FaultReporter

_LOOK_SECONDS = 30.0


class ShardWatcher:
    """One event's loop: `serve` is told how many shards are to be served, again and again."""

    def __init__(self, registry: ShardRegistry, faults: FaultReporter, serve: Callable[[int], None]) -> None:
        self._registry = registry
        self._faults = faults
        self._serve = serve

    async def run(self) -> None:
        """Look until cancelled, through outages."""
        while True:
            try:
                # A worker hands ticks to the shards that it declares.
                await self._registry.announce()
                self._serve(await retry(self._registry.most, deadline=None))
            except ScriptError as error:
                self._faults.lasting("fetch", error)
            else:
                self._faults.mended("fetch")
            await asyncio.sleep(_LOOK_SECONDS)
