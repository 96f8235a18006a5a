"""Renews the locks of running events, and checks for stalled ones of other workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from oxherd.errors import RedisUnavailable
from oxherd.redis.client import ScriptError
from oxherd.redis.retry import retry_delay
from oxherd.signals import ErrorInfo
from oxherd.worker.background_loop import BackgroundLoop
from oxherd.worker.fault_reporter import damaged_job
from oxherd.worker.fetching.unresolved_calls import UnresolvedCalls
from oxherd.worker.quarantine import quarantine
from oxherd.worker.running.execution import Execution
from oxherd.worker.served_queue import ServedQueue

# After an outage every worker needs time to retake its locks that ran out before any of them checks for stalled jobs.
_GRACE_SECONDS = 2.0
# A slower answer means that the server, or this loop, was held up.
_SLOW_ANSWER_SECONDS = 0.25
# Three checks in a lock's time: however they fall, a dead worker's event begins again within twice its lock.
_CHECKS_PER_LOCK = 3


class LockRenewer(BackgroundLoop):
    """One queue's loop. Scripts: retake_locks, check_stalled."""

    def __init__(self, served: ServedQueue, unresolved: UnresolvedCalls, executions: Iterable[Execution]) -> None:
        super().__init__(f"oxherd-renew-{served.queue.keys.queue}")
        self._served = served
        self._queue = served.queue
        self._faults = served.faults
        self._events = served.events
        self._unresolved = unresolved
        self._executions = executions
        self._check_at = 0.0

    @property
    def _interval(self) -> float:
        return self._events.lock_ms / 1000 / _CHECKS_PER_LOCK

    async def run(self) -> None:
        """Renew and check until cancelled."""
        self._check_at = time.monotonic() + self._interval
        failures = 0
        while True:
            await asyncio.sleep(retry_delay(failures) if failures else self._interval)
            try:
                await self._renew()
                if self._unresolved:
                    await self._unresolved.resolve()
                if time.monotonic() >= self._check_at:
                    await self._check_stalled()
            except RedisUnavailable:  # reported as an outage
                failures += 1
                self._wait_for_others()
            except ScriptError as error:
                failures = 0
                self._faults.lasting("lock", error)
            else:
                failures = 0

    async def _renew(self) -> None:
        begun = time.monotonic()
        by_lock: dict[int, list[Execution]] = {}
        for execution in self._executions:
            lock_ms = execution.declaration.lock_ms if execution.declaration else self._events.lock_ms
            by_lock.setdefault(lock_ms, []).append(execution)
        for lock_ms, held in by_lock.items():
            ours = await self._queue.retake_locks([execution.job for execution in held], lock_ms)
            for execution, is_ours in zip(held, ours, strict=True):
                if not is_ours:
                    execution.lose()
        if time.monotonic() - begun > _SLOW_ANSWER_SECONDS:
            self._wait_for_others()
        self._faults.mended("lock")

    async def _check_stalled(self) -> None:
        self._check_at = time.monotonic() + self._interval
        begun = time.monotonic()
        server_ms = await self._queue.server_ms()
        if time.monotonic() - begun > _SLOW_ANSWER_SECONDS:
            self._wait_for_others()
            return
        # The key that spaces the checks of all workers must have expired when our next check is due.
        every_ms = max(1, int(self._interval * 900))
        limits = {each.name: each.max_stalls for each in self._served.declared()}
        try:
            stalled, damaged = await self._queue.check_stalled(
                max(limits.values(), default=1), limits, every_ms, server_ms
            )
        except ScriptError as error:
            self._faults.lasting("stalled", error)
            return
        self._faults.mended("stalled")
        for job_id in stalled:
            message = "its worker died or fell silent; it was put back on the queue"
            self._faults.of_id("stalled", ErrorInfo("Stalled", message), job_id)
        for job_id in damaged:
            job = await self._queue.read(job_id, "quarantine")
            damage = await quarantine(self._served, job)
            if damage is not None:
                self._faults.of_job("data", damaged_job(damage), job)

    def _wait_for_others(self) -> None:
        self._check_at = max(self._check_at, time.monotonic() + max(self._interval, _GRACE_SECONDS))
