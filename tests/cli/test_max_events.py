"""`oxherd worker --max-events N`: a process that has processed enough drains, and another takes its place."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import pytest

from oxherd import Oxherd
from oxherd.servers.ports import free_ports
from oxherd.worker.lifetime import Lifetime
from tests.cli.support import refused
from tests.harness import WorkerProcess, until_sync

APP = """
import asyncio, logging, os
from pathlib import Path
from oxherd import Oxherd

herd = Oxherd(prefix={prefix!r})
log = logging.getLogger("app")

@herd.event("order.short", concurrency=2)
async def short(order: int) -> None:
    log.info("ran", extra={{"pid": os.getpid(), "order": order}})
    await asyncio.sleep(0.01)

@herd.event("order.long")
async def long(order: int) -> None:
    log.info("long", extra={{"pid": os.getpid()}})
    while not Path("over").exists():
        await asyncio.sleep(0.02)
"""
REPLACED = "and is replaced"


@pytest.fixture
def herd(standalone: str, prefix: str, tmp_path: Path) -> Oxherd:
    (tmp_path / "app.py").write_text(APP.format(prefix=prefix))
    herd = Oxherd(standalone, prefix=prefix)
    herd.declare("order.short", int)
    herd.declare("order.long", int)
    return herd


def ran(worker: WorkerProcess, message: str = "ran") -> Counter[int]:
    """How many events each process has begun."""
    return Counter(record["pid"] for record in worker.records() if record["msg"] == message)


def replaced(worker: WorkerProcess) -> int:
    return sum(REPLACED in record["msg"] for record in worker.records())


@pytest.mark.parametrize("processes", [1, 2])
def test_each_process_ends_after_so_many_events_and_no_event_runs_twice_or_is_lost(
    processes: int, herd: Oxherd, standalone: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    worker = start_worker("--max-events", "20", "--processes", str(processes), url=standalone)
    worker.wait("worker.start", processes)
    herd["order.short"].emit_many_sync(range(150))
    herd.close_sync()
    worker.wait("event.end", 150, deadline=60)
    until_sync(lambda: replaced(worker) >= 5)
    until_sync(lambda: worker.count("worker.start") >= processes + replaced(worker))
    assert worker.stop() == 0
    counts = ran(worker)
    assert sum(counts.values()) == 150
    assert worker.process.pid not in counts
    # Up to a tenth more, and what ran beside the last of them and was begun until the worker drained.
    assert max(counts.values()) <= 22 + 6
    assert sorted(counts.values())[-5] >= 20
    assert not [record for record in worker.records() if record["level"] not in ("INFO", "DEBUG")]


def test_another_takes_its_place_while_what_runs_goes_on_for_as_long_as_it_takes(
    herd: Oxherd, standalone: str, tmp_path: Path, start_worker: Callable[..., WorkerProcess]
) -> None:
    (port,) = free_ports(1)
    arguments = ("--max-events", "3", "--stop-timeout", "0.2", "--health", f"127.0.0.1:{port}")
    worker = start_worker(*arguments, url=standalone)
    herd["order.long"].emit_sync(1)
    worker.wait("long")
    for _ in range(3):
        herd["order.short"].emit_many_sync(range(3))
        done = worker.count("event.end", event="order.short")
        worker.wait("event.end", done + 3, event="order.short")
    worker.wait("worker.start", 4)
    (old,) = ran(worker, "long")
    assert ran(worker)[old] == 3
    assert len(ran(worker)) == 3
    # The one that drains is no worker that stops.
    until_sync(lambda: ready(port))
    (tmp_path / "over").touch()
    worker.wait("event.end", event="order.long", outcome="completed")
    worker.wait("worker.stop", 3)
    herd.close_sync()
    assert worker.stop() == 0
    assert worker.count("event.end", outcome="requeued") == 0


def ready(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/ready") as answer:
            health = json.load(answer)
    except OSError:
        return False
    return health["ready"] and len(health["processes"]) == 1 and not health["stopping"]


def test_a_stop_ends_those_that_drain_as_well(
    herd: Oxherd, standalone: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    worker = start_worker("--max-events", "1", "--stop-timeout", "0.2", url=standalone)
    herd["order.long"].emit_sync(1)
    worker.wait("long")
    herd["order.short"].emit_sync(1)
    herd.close_sync()
    worker.wait("worker.start", 2)
    assert worker.stop() == 0
    assert worker.count("event.end", event="order.long", outcome="requeued") == 1
    assert worker.count("worker.stop") == 2


def test_one_that_is_killed_while_it_drains_is_said_and_not_replaced_twice(
    herd: Oxherd, standalone: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    worker = start_worker("--max-events", "1", url=standalone)
    herd["order.long"].emit_sync(1)
    worker.wait("long")
    (old,) = ran(worker, "long")
    herd["order.short"].emit_sync(1)
    herd.close_sync()
    worker.wait("worker.start", 2)
    os.kill(old, signal.SIGKILL)
    worker.wait(f"worker process {old} ended (signal 9) while it drained", level="WARNING")
    assert worker.stop() == 0
    assert worker.count("worker.start") == 2


def test_numbers_below_one_are_refused(tmp_path: Path) -> None:
    for number in ("0", "-1", "many"):
        assert "--max-events" in refused(tmp_path, "worker", "app:herd", "--max-events", number)


def test_processes_that_begin_together_do_not_end_together(herd: Oxherd) -> None:
    lives = [Lifetime(herd.signals, 1000, lambda: None) for _ in range(100)]
    assert all(1000 <= life.most <= 1100 for life in lives)
    assert len({life.most for life in lives}) > 30
    for life in lives:
        life.close()
