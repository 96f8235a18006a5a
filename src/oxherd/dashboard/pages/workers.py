"""The workers that are alive, and what each runs."""

from __future__ import annotations

from datetime import timedelta

from oxherd.bullmq.worker_info import WorkerInfo
from oxherd.dashboard.page import Page, Request
from oxherd.dashboard.reading import Reading

# A worker's heartbeat comes every five seconds; one whose loop is blocked sends none, or a late one.
_SILENT = timedelta(seconds=12)
_SHOWN = 20


async def load(read: Reading, request: Request) -> Page:  # noqa: ARG001
    """The workers."""
    workers = sorted(await read.workers(), key=lambda worker: (worker.host, worker.pid, worker.since))
    locks = {event.name: event.declaration.lock for event in read.herd}
    return Page(
        "workers.html",
        "Workers",
        {
            "workers": workers,
            "hosts": len({worker.host for worker in workers}),
            "running": sum(worker.running_count for worker in workers),
            "silent": _SILENT,
            "shown": _SHOWN,
            "locks": locks,
            "ahead": {worker.id: _ahead(worker) for worker in workers},
        },
        nav="workers",
    )


def _ahead(worker: WorkerInfo) -> timedelta:
    """By how much its clock is ahead, so that the moments it names can be compared."""
    return timedelta(seconds=worker.clock_ahead or 0)
