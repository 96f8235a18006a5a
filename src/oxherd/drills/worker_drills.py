"""Drills that break a worker: any server will do, also one of the user's own."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from oxherd.drills.drill import Needs, drill

if TYPE_CHECKING:
    from oxherd.drills.scene import Scene

_MINUTE = 60.0
_MEMORY = 1024 * 1024 * 1024


@drill("worker.sigterm", "a worker is told to stop, and another takes its place", Needs.WORKERS)
async def sigterm(scene: Scene) -> None:
    worker = scene.any_worker()
    await scene.stop_worker(worker)
    await scene.start_worker()


@drill("worker.sigkill", "a worker is killed, and another takes its place", Needs.WORKERS, repeats=True)
async def sigkill(scene: Scene) -> None:
    worker = scene.any_worker()
    worker.signal(signal.SIGKILL)
    await scene.start_worker()


@drill(
    "worker.sigstop",
    "a worker is stopped for longer than its lock, and goes on",
    Needs.WORKERS,
    repeats=True,
    seconds=15,
)
async def sigstop(scene: Scene) -> None:
    worker = scene.any_worker()
    worker.signal(signal.SIGSTOP)
    await scene.pause(scene.setup.lock * 1.5, scene.setup.lock * 3)
    worker.signal(signal.SIGCONT)


@drill(
    "worker.oom",
    "a handler takes all the memory that its worker may have",
    Needs.WORKERS,
    fails=1,
    app={"memory": _MEMORY},
)
async def oom(scene: Scene) -> None:
    event_id = await scene.load.emit(what="hog")
    await scene.until_begun(event_id)
    await scene.pause(1.0, 3.0)


@drill(
    "worker.poison",
    "an event kills each worker that begins it, and is given up",
    Needs.WORKERS,
    repeats=True,
    fails=1,
    seconds=20,
)
async def poison(scene: Scene) -> None:
    await scene.load.emit(what="die")
    # Begun twice, by two workers: `max_stalls` is 1. Each of them is replaced, as a supervisor does.
    for _ in range(2):
        await scene.until(lambda: any(worker.died() for worker in scene.running()), "the death of a worker")
        await scene.start_worker()


@drill(
    "worker.blocked",
    "a handler blocks its worker's event loop for a minute",
    Needs.WORKERS,
    repeats=True,
    seconds=75,
)
async def blocked(scene: Scene) -> None:
    event_id = await scene.load.emit(what="block", seconds=_MINUTE)
    await scene.until_begun(event_id)
    await scene.pause(_MINUTE)
    # Its own account of the minute follows when the loop goes on.
    await scene.pause(0.5)
