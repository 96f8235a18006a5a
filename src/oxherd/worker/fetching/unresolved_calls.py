"""Calls whose answer was lost: each may have begun a job that nobody runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from oxherd.bullmq.job import Job, worker_of
from oxherd.signals import ErrorInfo
from oxherd.worker.fault_reporter import damaged_job
from oxherd.worker.quarantine import quarantine
from oxherd.worker.served_queue import ServedQueue

# Time enough to put back a job whose lock has run out.
_LOCK_MS = 5_000


class UnresolvedCalls:
    """One queue's unresolved calls, by lock token; `jobs` returns the jobs that the worker runs."""

    def __init__(self, served: ServedQueue, jobs: Callable[[], Iterable[Job]]) -> None:
        self._served = served
        self._queue = served.queue
        self._faults = served.faults
        self._jobs = jobs
        self._tokens: set[str] = set()
        self._reclaimed = 0
        # The fetcher and the lock renewer may both come: each would report what the other has put back.
        self._resolving = asyncio.Lock()

    def __contains__(self, token: str) -> bool:
        return token in self._tokens

    def __len__(self) -> int:
        return len(self._tokens)

    def add(self, token: str) -> None:
        """Note that a call with this token got no answer."""
        self._tokens.add(token)

    async def resolve(self) -> int:
        """Put back the jobs that the calls began, without costing a stall; returns how many were quarantined.

        Finds a job by its lock or, where that has run out, by BullMQ's `pb` (processedBy). Skips tokens of running
        jobs, whose own call may still be retried.

        Raises:
            RedisUnavailable, ScriptError: the calls stay unresolved.
        """
        async with self._resolving:
            return await self._resolve()

    async def _resolve(self) -> int:
        jobs = list(self._jobs())
        tokens = self._tokens - {job.token for job in jobs}
        if not tokens:
            return 0
        running = {job.raw_id for job in jobs}
        worker = worker_of(next(iter(tokens)))
        unclaimed = await self._queue.unclaimed(worker, tokens, running, _LOCK_MS)
        # At once: a stop has little time for them.
        quarantined = sum(await asyncio.gather(*(self._put_back(job_id, token) for job_id, token in unclaimed)))
        self._tokens -= tokens
        if self._reclaimed and not self._tokens:
            count, self._reclaimed = self._reclaimed, 0
            message = f"answers were lost; {count} events that had been fetched with them were put back, at no cost"
            self._faults.of_queue("fetch", ErrorInfo("Reclaimed", message))
        return quarantined

    async def _put_back(self, job_id: bytes, token: str) -> bool:
        """Put a job back; True if it was quarantined instead."""
        job = await self._queue.read(job_id, token)
        damage = await quarantine(self._served, job)
        if damage is not None:
            self._faults.of_job("data", damaged_job(damage), job)
        elif await self._queue.requeue(job_id, token) >= 0:
            self._reclaimed += 1
        return damage is not None
