"""KeyboardInterrupt and SystemExit: of a handler's they are its failure; only a signal stops a worker."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from oxherd import Oxherd, Retry
from tests.harness import WorkerProcess

APP = """
import asyncio
import sys
from oxherd import Oxherd, Retry

herd = Oxherd(prefix="PREFIX")


def interrupt():
    raise KeyboardInterrupt


async def leave():
    await asyncio.sleep(0)
    sys.exit(3)


async def wait_for_leaving():
    async with asyncio.TaskGroup() as group:
        group.create_task(leave())
        group.create_task(asyncio.sleep(60))


async def leave_behind():
    asyncio.get_running_loop().call_soon(interrupt)
    await asyncio.sleep(0.01)


@herd.event("ends", concurrency=10, retry=Retry(attempts=1))
async def ends(how: str) -> None:
    match how:
        case "raise":
            interrupt()
        case "group":
            await wait_for_leaving()
        case "child":
            await asyncio.create_task(leave())
        case "behind":
            await leave_behind()


@herd.event("ends.in.thread", retry=Retry(attempts=1))
def ends_in_thread(how: str) -> None:
    interrupt()


@herd.event("ends.in.process", run_in="process", retry=Retry(attempts=1))
def ends_in_process(how: str) -> None:
    sys.exit(3)


@herd.event("waits")
async def waits(seconds: float) -> None:
    await asyncio.sleep(seconds)
"""

# The event, how it ends, and its error.
ENDS = [
    ("ends", "raise", "KeyboardInterrupt"),
    ("ends", "group", "SystemExit"),
    ("ends", "child", "SystemExit"),
    ("ends", "behind", None),
    ("ends.in.thread", "raise", "KeyboardInterrupt"),
    ("ends.in.process", "raise", "SystemExit"),
]


@pytest.fixture
def sync_herd(local_herd: Oxherd) -> Iterator[Oxherd]:
    """A herd for a test without an event loop."""
    yield local_herd
    local_herd.close_sync()


def test_a_worker_lives_on_whatever_its_handlers_raise(
    tmp_path: Path,
    prefix: str,
    standalone: str,
    sync_herd: Oxherd,
    start_worker: Callable[..., WorkerProcess],
) -> None:
    (tmp_path / "app.py").write_text(APP.replace("PREFIX", prefix))
    worker = start_worker(url=standalone)
    other = str(sync_herd.declare("waits", float).emit_sync(3).id)
    worker.wait("event.begin", event_id=other)
    once = Retry(attempts=1)
    events = {name: sync_herd.declare(name, str, retry=once) for name in {name for name, _, _ in ENDS}}
    for name, how, error in ENDS:
        event_id = str(events[name].emit_sync(how).id)
        worker.wait("event.end", event_id=event_id, outcome="failed" if error else "completed")
        (end,) = [each for each in worker.records() if each["msg"] == "event.end" and each["event_id"] == event_id]
        assert end.get("error", {}).get("type") == error
    worker.wait("event.end", event_id=other, outcome="completed", attempt=1, fence=1)
    assert worker.count("a task or callback raised KeyboardInterrupt") == 1
    assert worker.process.poll() is None
    worker.signal(signal.SIGINT)
    assert worker.exit() == 0
    assert worker.count("worker.stop", stranded=0, requeued=0) == 1


class Leaving(BaseModel):
    leaves: bool

    @field_validator("leaves")
    @classmethod
    def leave(cls, leaves: bool) -> bool:
        if leaves:
            raise SystemExit("on purpose")
        return leaves


def test_emit_sync_raises_what_a_validator_raises_and_goes_on(sync_herd: Oxherd) -> None:
    event = sync_herd.declare("left", Leaving)
    unchecked: Any = {"leaves": True}
    with pytest.raises(SystemExit, match="on purpose"):
        event.emit_sync(unchecked)
    assert event.emit_sync(Leaving(leaves=False)).event == "left"
