"""Calls whose answer was lost: each may have begun a job that nobody runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from oxherd.bullmq.job import Job, worker_of
from oxherd.bullmq.queue import BullQueue
from oxherd.signals import ErrorInfo
from oxherd.worker.fault_reporter import FaultReporter, damaged_job

# For long enough to put a job back whose lock had run out.
_LOCK_MS = 5_000


class UnresolvedCalls:
    """One queue's calls in doubt, each by the lock token that it used; `running` says which jobs the worker holds."""

    def __init__(self, queue: BullQueue, faults: FaultReporter, running: Callable[[], Iterable[Job]]) -> None:
        self._queue = queue
        self._faults = faults
        self._running = running
        self._tokens: set[str] = set()
        self._reclaimed = 0

    def __contains__(self, token: str) -> bool:
        return token in self._tokens

    def __len__(self) -> int:
        return len(self._tokens)

    def add(self, token: str) -> None:
        """A call with that token got no answer."""
        self._tokens.add(token)

    async def resolve(self) -> int:
        """Put back what the calls have begun, at no cost, however long ago that was; a damaged job is set aside.

        Jobs are known by their lock, or, where that ran out, by BullMQ's `pb` (processedBy). A token that holds a
        running job is left for later: its own call may still be retried. Returns how many were set aside.

        Raises:
            RedisUnavailable, ScriptError: it could not be done; the calls stay in doubt.
        """
        tokens = self._tokens - {job.token for job in self._running()}
        if not tokens:
            return 0
        aside = 0
        held = {job.raw_id for job in self._running()}
        worker = worker_of(next(iter(tokens)))
        for job_id, token in await self._queue.unclaimed(worker, tokens, held, _LOCK_MS):
            damage = await self._queue.quarantine(job_id, token)
            if damage is not None:
                aside += 1
                self._faults.of_id("data", damaged_job(damage[0]), job_id.decode("utf-8", "backslashreplace"))
            elif await self._queue.requeue(job_id, token) >= 0:
                self._reclaimed += 1
        self._tokens -= tokens
        if self._reclaimed and not self._tokens:
            count, self._reclaimed = self._reclaimed, 0
            message = f"answers were lost; {count} events that had been fetched with them were put back, at no cost"
            self._faults.of_job("fetch", ErrorInfo("Reclaimed", message), None)
        return aside
