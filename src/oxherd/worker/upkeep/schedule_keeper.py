"""Keeps the schedules that stand in code: stores, changes and removes them, as the newest live version declares."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass

from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.schedule_declarations import Declared, Standing, declare
from oxherd.bullmq.schedule_ticks import Wanted, ensure
from oxherd.bullmq.schedulers import Schedulers
from oxherd.declaration import Declaration
from oxherd.declared_schedules import digest_of
from oxherd.errors import OxherdError, RedisUnavailable
from oxherd.redis.client import ScriptError
from oxherd.redis.retry import retry
from oxherd.worker.background_loop import BackgroundLoop
from oxherd.worker.fault_reporter import FaultReporter
from oxherd.worker.served_events import ServedEvents

# As the heartbeat: the server takes a version for gone that no worker has named for four of these.
_LOOK_SECONDS = 5.0
# What others have changed in the stored schedules is put right within this time.
_CHECK_SECONDS = 30.0
_STORE_SECONDS = 10.0


@dataclass(slots=True)
class _Kept:
    """What the worker knows of one event: `checked_at` is 0 until its schedules are known to be stored."""

    digest: str
    first_ms: int = 0
    checked_at: float = 0.0


class ScheduleKeeper(BackgroundLoop):
    """Says what the served events declare, and stores that where no live worker declares anything newer.

    It runs once an event has schedules, or `start_for_others` says that other versions have.
    """

    def __init__(self, queue: BullQueue, schedulers: Schedulers, events: ServedEvents, faults: FaultReporter) -> None:
        super().__init__(f"oxherd-schedules-{queue.keys.queue}")
        self._queue = queue
        self._schedulers = schedulers
        self._events = events
        self._faults = faults
        self._kept: dict[str, _Kept] = {}
        self._changed = asyncio.Event()
        self._running = False
        self._stopped = False

    def start_if_needed(self) -> None:
        """Start, if a served event has schedules; look at once for one that is new."""
        if any(event.declaration.schedules for event in self._events):
            self.start_for_others()
        self._changed.set()

    def start_for_others(self) -> None:
        """Start: workers of this queue have schedules in code, whichever version's."""
        if not self._running and not self._stopped:
            self._running = True
            self.start()

    async def stop(self, timeout: float | None = None) -> None:
        """Stop for good, if it runs."""
        self._stopped = True
        if self._running:
            await super().stop(timeout)

    async def run(self) -> None:
        """Look until cancelled, through outages."""
        while True:
            self._changed.clear()
            try:
                await self._look()
            except (ScriptError, OxherdError) as error:
                if not isinstance(error, RedisUnavailable):  # reported as an outage
                    self._faults.lasting("schedule", error)
            else:
                self._faults.mended("schedule")
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._changed.wait()

    async def _look(self) -> None:
        declarations = [event.declaration for event in self._events]
        kept = [self._kept_of(declaration) for declaration in declarations]
        declared = [
            Declared(each.name, known.digest, known.first_ms, [each.scheduler_id(name) for name in each.schedules])
            for each, known in zip(declarations, kept, strict=True)
        ]
        standings = await retry(lambda: declare(self._queue.client, self._queue.keys, declared))
        failed: Exception | None = None
        for declaration, known, standing in zip(declarations, kept, standings, strict=True):
            known.first_ms = standing.first_ms
            if not standing.first_ms or not _is_due(known, standing):
                continue
            try:
                await self._store(declaration)
            except (ScriptError, OxherdError) as error:  # the other events' schedules are kept all the same
                failed = error
            else:
                known.checked_at = time.monotonic()
        if failed is not None:
            raise failed

    def _kept_of(self, declaration: Declaration) -> _Kept:
        known = self._kept.get(declaration.name)
        if known is None:
            digest = digest_of(declaration.schedules, declaration.options, declaration.payload)
            known = self._kept[declaration.name] = _Kept(digest)
        return known

    async def _store(self, declaration: Declaration) -> None:
        """Store an event's schedules as declared, and remove those that other versions declared."""
        payload, ids = declaration.payload, set[str]()
        for name, schedule in declaration.schedules.items():
            scheduler = declaration.scheduler_id(name)
            ids.add(scheduler)
            wanted = Wanted(
                scheduler,
                declaration.name,
                schedule.when,
                payload.seal(schedule.json),
                schedule.options(declaration.options),
                payload.sealer.is_same,
                declared=True,
            )
            await ensure(self._schedulers, wanted, deadline=time.monotonic() + _STORE_SECONDS)
        prefix = declaration.scheduler_id("")
        for scheduler in await self._schedulers.declared_ids():
            if scheduler.startswith(prefix) and scheduler not in ids:
                await self._schedulers.remove(scheduler, only_declared=True, deadline=time.monotonic() + _STORE_SECONDS)


def _is_due(known: _Kept, standing: Standing) -> bool:
    """Whether the worker has to look at the stored schedules."""
    if standing.holds != known.digest:
        known.checked_at = 0.0  # others' schedules are stored now
        return False
    return standing.missing or not known.checked_at or time.monotonic() - known.checked_at > _CHECK_SECONDS
