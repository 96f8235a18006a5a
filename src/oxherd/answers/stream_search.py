"""Looks in a queue's event stream for the ends of jobs that are gone: one search for all who ask meanwhile."""

from __future__ import annotations

import asyncio

from oxherd.answers.event_reader import herd_closed
from oxherd.bullmq.answers import JobEnd, find_ends
from oxherd.bullmq.queue import BullQueue
from oxherd.redis.futures import mark_retrieved


class StreamSearch:
    """Searches one queue's stream, which keeps about 10,000 entries. Command: XREVRANGE."""

    def __init__(self, queue: BullQueue) -> None:
        self._queue = queue
        self._wanted: dict[str, asyncio.Future[JobEnd | None]] = {}
        self._task: asyncio.Task[None] | None = None

    async def find(self, job_id: str) -> JobEnd | None:
        """How a job ended; None if the stream does not say. Raises RedisUnavailable, ScriptError."""
        future = self._wanted.get(job_id)
        if future is None:
            future = self._wanted[job_id] = asyncio.get_running_loop().create_future()
            future.add_done_callback(mark_retrieved)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._search())
        return await asyncio.shield(future)

    async def close(self) -> None:
        """Give up the search."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _search(self) -> None:
        while self._wanted:
            wanted, self._wanted = self._wanted, {}
            try:
                found = await find_ends(self._queue, wanted)
            except BaseException as error:
                for future in wanted.values():
                    future.set_exception(error if isinstance(error, Exception) else herd_closed())
                if not isinstance(error, Exception):
                    raise
            else:
                for job_id, future in wanted.items():
                    future.set_result(found.get(job_id))
