"""Drills of a deploy, with workers of two versions side by side."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from oxherd.bullmq.job import event_id_text
from oxherd.drills.app import TICK, Work
from oxherd.drills.drill import Needs, drill
from oxherd.drills.ledger import EmitResult
from oxherd.schedule.every import Every

if TYPE_CHECKING:
    from oxherd.drills.session import DrillSession

# A tick this close to a change may or may not be added.
_MARGIN_MS = 500


@drill("deploy.rolling", "four workers are replaced, one after the other", Needs.WORKERS, workers=4, seconds=15)
async def rolling(session: DrillSession) -> None:
    for worker in list(session.workers):
        await session.stop_worker(worker)
        await session.start_worker()
        await session.pause(0.0, 0.5)


@drill(
    "deploy.new-event",
    "workers of the old version share a queue with an event that only the new version knows",
    Needs.WORKERS,
    app={"shared": True},
    seconds=20,
)
async def new_event(session: DrillSession) -> None:
    await session.start_worker(extra=True)
    await session.pause(1.0, 2.0)
    for worker in session.workers[:2]:
        await session.stop_worker(worker)
    await session.start_worker(extra=True)


@drill(
    "deploy.schedule-changed",
    "a schedule is changed while workers of both versions run: each tick runs once",
    Needs.WORKERS,
    seconds=20,
)
async def schedule_changed(session: DrillSession) -> None:
    tick = session.herd[TICK]
    for number, seconds in enumerate((1.0, 0.7)):
        before = time.time()
        await tick.schedule("beat", Every(seconds), Work(number=number))
        after = time.time()
        if number:
            await session.start_worker()
        await session.pause(2.5, 4.0)
        _record_ticks(session, round(seconds * 1000), before, after, time.time())
    await tick.unschedule("beat")
    # For a tick that was due at the end.
    await session.pause(0.5)


def _record_ticks(session: DrillSession, every_ms: int, before: float, after: float, until: float) -> None:
    """Record the ticks of a schedule set between `before` and `after`: certain in the middle, possible at both ends."""
    first, last = round(before * 1000), round(until * 1000) + _MARGIN_MS
    for due in range(first - first % every_ms, last, every_ms):
        entry = session.ledger.record_emit(event_id_text(f"{{{TICK}}}", f"repeat:beat:{due}"), TICK)
        if round(after * 1000) < due < last - 2 * _MARGIN_MS:
            session.ledger.record_result(entry, EmitResult.ACKNOWLEDGED)
