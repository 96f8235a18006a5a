"""Drills of a deploy: workers of two versions side by side."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from oxherd.bullmq.job import event_id_text
from oxherd.drills.app import TICK, Work
from oxherd.drills.drill import Needs, drill
from oxherd.drills.ledger import Answer
from oxherd.schedule.every import Every

if TYPE_CHECKING:
    from oxherd.drills.scene import Scene

# What is due so close to a change may be made, or not.
_MARGIN_MS = 500


@drill("deploy.rolling", "four workers are replaced, one after the other", Needs.WORKERS, workers=4, seconds=15)
async def rolling(scene: Scene) -> None:
    for worker in list(scene.workers):
        await scene.stop_worker(worker)
        await scene.start_worker()
        await scene.pause(0.0, 0.5)


@drill(
    "deploy.new-event",
    "workers of the old version share the queue with an event that only the new one knows",
    Needs.WORKERS,
    app={"shared": True},
    seconds=20,
)
async def new_event(scene: Scene) -> None:
    await scene.start_worker(extra=True)
    await scene.pause(1.0, 2.0)
    for worker in scene.workers[:2]:
        await scene.stop_worker(worker)
    await scene.start_worker(extra=True)


@drill(
    "deploy.schedule-changed",
    "a schedule is changed while workers of both versions run: each tick runs once",
    Needs.WORKERS,
    seconds=20,
)
async def schedule_changed(scene: Scene) -> None:
    tick = scene.herd[TICK]
    for number, seconds in enumerate((1.0, 0.7)):
        before = time.time()
        await tick.schedule("beat", Every(seconds), Work(number=number))
        after = time.time()
        if number:
            await scene.start_worker()
        await scene.pause(2.5, 4.0)
        _expect(scene, round(seconds * 1000), before, after, time.time())
    await tick.unschedule("beat")
    # The one that was due as it ended.
    await scene.pause(0.5)


def _expect(scene: Scene, every_ms: int, asked: float, known: float, until: float) -> None:
    """Note the ticks between two changes: certain in the middle, possible at both ends."""
    first, last = round(asked * 1000), round(until * 1000) + _MARGIN_MS
    for due in range(first - first % every_ms, last, every_ms):
        entry = scene.ledger.emitting(event_id_text(f"{{{TICK}}}", f"repeat:beat:{due}"), TICK)
        if round(known * 1000) < due < last - 2 * _MARGIN_MS:
            scene.ledger.answered(entry, Answer.ACKNOWLEDGED)
