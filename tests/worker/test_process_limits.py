"""Processes of handlers that leave after so many events, or once they hold too much memory."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oxherd import Oxherd
from tests.harness import WorkerProcess, until_sync

APP = """
import logging, os, signal, threading, time
from oxherd import Oxherd, Process, Retry

herd = Oxherd(prefix={prefix!r})
log = logging.getLogger("app")
kept = []

@herd.event("order.few", concurrency=2, run_in=Process(max_events=3), retry=Retry(attempts=2, delay=0))
def few(order: int) -> int:
    log.info("ran", extra={{"pid": os.getpid(), "order": order}})
    if order == -1 and not kept:
        kept.append(order)
        raise ConnectionError
    if order == -2:
        threading.Thread(target=time.sleep, args=[60]).start()
    return os.getpid()

@herd.event("order.greedy", concurrency=1, run_in=Process(max_memory="300 MiB"))
def greedy(order: int) -> None:
    log.info("ran", extra={{"pid": os.getpid(), "order": order}})
    kept.append(b"x" * (order * 2**20))
    if order > 1000:
        kept.clear()

@herd.event("order.once", concurrency=1, run_in=Process(max_events=1))
def once(order: int) -> None:
    log.info("ran", extra={{"pid": os.getpid(), "order": order}})
    if order == 3:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def herd(standalone: str, prefix: str, tmp_path: Path) -> Oxherd:
    (tmp_path / "app.py").write_text(APP.format(prefix=prefix))
    herd = Oxherd(standalone, prefix=prefix)
    for name in ("order.few", "order.greedy", "order.once"):
        herd.declare(name, int)
    return herd


def begun(worker: WorkerProcess) -> list[dict[str, Any]]:
    return [record for record in worker.records() if record["msg"] == "ran"]


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_process_leaves_after_so_many_events_and_each_event_runs_once(
    herd: Oxherd, standalone: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    worker = start_worker("--event", "order.few", url=standalone)
    herd["order.few"].emit_many_sync(range(20))
    worker.wait("event.end", 20, deadline=60, outcome="completed")
    counts = Counter(record["pid"] for record in begun(worker))
    assert max(counts.values()) == 3
    assert sum(counts.values()) == 20
    full = [pid for pid, count in counts.items() if count == 3]
    until_sync(lambda: all(map(gone, full)))
    assert worker.count("a process of order.few leaves: it has run 3 events", level="INFO") == len(full)
    # A failed run counts as well.
    herd["order.few"].emit_sync(-1)
    worker.wait("event.end", outcome="retrying")
    worker.wait("event.end", 21, outcome="completed")
    herd.close_sync()
    assert worker.stop() == 0
    assert max(Counter(record["pid"] for record in begun(worker)).values()) == 3
    assert all(gone(pid) for pid in counts)


def test_a_process_that_does_not_leave_is_killed_and_holds_up_neither_the_next_event_nor_the_stop(
    herd: Oxherd, standalone: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    worker = start_worker("--event", "order.few", url=standalone)
    herd["order.few"].emit_many_sync([-2] * 6)
    worker.wait("event.end", 6, outcome="completed")
    herd.close_sync()
    pids = {record["pid"] for record in begun(worker)}
    assert worker.stop() == 0
    assert all(map(gone, pids))


def test_a_process_leaves_that_holds_too_much_memory_after_an_event(
    herd: Oxherd, standalone: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    worker = start_worker("--event", "order.greedy", url=standalone)
    for order, count in ((1, 2), (350, 1), (1, 1), (1100, 1), (1, 1)):
        done = worker.count("event.end")
        herd["order.greedy"].emit_many_sync([order] * count)
        worker.wait("event.end", done + count, deadline=60)
    herd.close_sync()
    runs = begun(worker)
    assert [record["order"] for record in runs] == [1, 1, 350, 1, 1100, 1]
    first, second, greedy, after, much, last = (record["pid"] for record in runs)
    assert first == second == greedy != after
    # What is given back by the end of the event does not count.
    assert after == much == last
    (left,) = [record["msg"] for record in worker.records() if "leaves: it holds" in record["msg"]]
    assert int(left.split()[-4]) >= 350
    until_sync(lambda: gone(greedy))
    assert worker.stop() == 0


def test_a_process_that_dies_in_its_last_event_is_no_other_failure_than_before(
    herd: Oxherd, standalone: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    worker = start_worker("--event", "order.once", url=standalone)
    herd["order.once"].emit_many_sync([1, 2, 3])
    worker.wait("event.end", outcome="retrying")
    herd.close_sync()
    assert worker.count("event.end", outcome="completed") == 2
    assert len({record["pid"] for record in begun(worker)}) >= 3
    assert worker.stop() == 0
