"""Writes what a worker has counted to the history of its events, every five seconds."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from oxherd.bullmq.history import Counted, add_figures
from oxherd.bullmq.queue import BullQueue
from oxherd.errors import RedisUnavailable
from oxherd.redis.client import ScriptError
from oxherd.redis.retry import retry
from oxherd.worker.background_loop import BackgroundLoop
from oxherd.worker.fault_reporter import FaultReporter
from oxherd.worker.identity import Identity
from oxherd.worker.run_counts import RunCounts

# What a worker has counted for so long is gone with it, if it is killed.
_WRITE_SECONDS = 5.0
_LEAVE_SECONDS = 0.5
# One script adds about so many minutes of an event: some milliseconds of the server's time.
_MOST_ROWS = 200


class HistoryWriter(BackgroundLoop):
    """Writes the counts of a group's queues to the first of them, with one script where there is anything to write."""

    def __init__(self, queue: BullQueue, identity: Identity, counts: RunCounts, faults: FaultReporter) -> None:
        super().__init__(f"oxherd-history-{queue.keys.queue}")
        self._queue = queue
        self._worker = identity.id
        self._counts = counts
        self._faults = faults
        # What is being written, and its name: a batch whose reply was lost is sent again as it is.
        self._batch: list[Counted] = []
        self._batch_id = ""
        self._taken_at = 0.0

    async def run(self) -> None:
        """Write until cancelled, through outages."""
        while True:
            await asyncio.sleep(_WRITE_SECONDS)
            await self._write()

    async def leave(self) -> None:
        """Stop, and write what is left; where Redis does not answer, it is lost."""
        await self.stop()
        if not self._queue.client.has_outage(self._queue.keys.slot):
            try:
                async with asyncio.timeout(_LEAVE_SECONDS):
                    await self._write()
            except (RedisUnavailable, TimeoutError):  # reported as an outage, if it is one
                pass

    async def _write(self) -> None:
        while self._batch or self._take():
            try:
                await retry(self._add)
            except ScriptError as error:
                self._faults.lasting("history", error)  # and this batch is lost
            else:
                self._faults.mended("history")
            self._batch = []

    def _take(self) -> bool:
        self._batch, self._batch_id = self._counts.take(_MOST_ROWS), uuid4().hex
        self._taken_at = asyncio.get_running_loop().time()
        return bool(self._batch)

    async def _add(self) -> None:
        since_ms = round((asyncio.get_running_loop().time() - self._taken_at) * 1000)
        counted = [each._replace(age_ms=each.age_ms + since_ms) for each in self._batch]
        await add_figures(self._queue, self._worker, self._batch_id, counted)
