"""Drills that break workers, on any server, the user's included."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from oxherd.drills.drill import Needs, drill

if TYPE_CHECKING:
    from oxherd.drills.session import DrillSession

_MINUTE = 60.0
_MEMORY = 1024 * 1024 * 1024


@drill("worker.sigterm", "a worker is stopped, and another started", Needs.WORKERS)
async def sigterm(session: DrillSession) -> None:
    worker = session.any_worker()
    await session.stop_worker(worker)
    await session.start_worker()


@drill("worker.sigkill", "a worker is killed, and another started", Needs.WORKERS, repeats=True)
async def sigkill(session: DrillSession) -> None:
    worker = session.any_worker()
    worker.signal(signal.SIGKILL)
    await session.start_worker()


@drill(
    "worker.sigstop",
    "a worker is suspended for longer than its lock, and resumed",
    Needs.WORKERS,
    repeats=True,
    seconds=15,
)
async def sigstop(session: DrillSession) -> None:
    worker = session.any_worker()
    worker.signal(signal.SIGSTOP)
    await session.pause(session.setup.lock * 1.5, session.setup.lock * 3)
    worker.signal(signal.SIGCONT)


@drill(
    "worker.oom",
    "a handler allocates all the memory of its worker",
    Needs.WORKERS,
    fails=1,
    app={"memory": _MEMORY},
)
async def oom(session: DrillSession) -> None:
    event_id = await session.load.emit(behaviour="hog")
    await session.until_begun(event_id)
    await session.pause(1.0, 3.0)


@drill(
    "worker.poison",
    "an event kills every worker that begins it, and goes to failed",
    Needs.WORKERS,
    repeats=True,
    fails=1,
    seconds=20,
)
async def poison(session: DrillSession) -> None:
    await session.load.emit(behaviour="die")
    # Two workers die, since `max_stalls` is 1; each is replaced, as by a supervisor.
    for _ in range(2):
        await session.until_worker_died()
        await session.start_worker()


@drill(
    "worker.blocked",
    "a handler blocks its worker's event loop for a minute",
    Needs.WORKERS,
    repeats=True,
    seconds=75,
)
async def blocked(session: DrillSession) -> None:
    event_id = await session.load.emit(behaviour="block", seconds=_MINUTE)
    await session.until_begun(event_id)
    await session.pause(_MINUTE)
    # For its log records, which follow when the loop goes on.
    await session.pause(0.5)
