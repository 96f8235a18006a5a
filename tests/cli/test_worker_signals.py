"""What SIGTERM and Ctrl-C do to `oxherd worker` before it works, while it drains, and after its report."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from oxherd import Oxherd
from tests.harness import DEADLINE, WorkerProcess, environment

SLOW_IMPORT = """
import sys, time
from oxherd import Oxherd

print("importing", flush=True)
try:
    while True:
        time.sleep(0.01)  # one long sleep would not hear a signal that comes just before it
except BaseException as error:
    BODY
herd = Oxherd("redis://127.0.0.1:1/0")

@herd.event("order.placed")
async def order_placed(_: int) -> None: ...
"""
STATUSES = {signal.SIGTERM: 0, signal.SIGINT: 130}


@pytest.mark.parametrize("number", STATUSES)
@pytest.mark.parametrize("body", ["raise", "pass", "raise ImportError('no') from error", "sys.exit(3)"])
@pytest.mark.parametrize("more", [[], ["--processes", "2"]], ids=["one", "two"])
def test_a_worker_told_to_stop_while_its_module_is_imported_has_the_status_of_the_signal(
    more: list[str], body: str, number: signal.Signals, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(SLOW_IMPORT.replace("BODY", body))
    command = [sys.executable, "-m", "oxherd", "worker", "app:herd", *more]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        _, err = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, "Traceback" in err, "cannot be imported" in err) == (STATUSES[number], False, False)


APP = """
import asyncio, threading, time
from concurrent.futures import ThreadPoolExecutor
from oxherd import Oxherd

herd = Oxherd(prefix=PREFIX)
pool = ThreadPoolExecutor(1)

@herd.event("slow", concurrency=3)
async def slow(_: int) -> None:
    await asyncio.sleep(600)

@herd.event("thread", concurrency=1)
async def thread(_: int) -> None:
    threading.Thread(target=time.sleep, args=(600,)).start()
    pool.submit(time.sleep, 600)
    await asyncio.to_thread(time.sleep, 600)
"""


@pytest.fixture
def herd(tmp_path: Path, standalone: str, prefix: str) -> Oxherd:
    """The herd of the worker, to emit with."""
    (tmp_path / "app.py").write_text(APP.replace("PREFIX", repr(prefix)))
    herd = Oxherd(standalone, prefix=prefix)
    herd.declare("slow", int)
    herd.declare("thread", int)
    return herd


@pytest.mark.parametrize(("count", "said"), [(3, "draining 3 events"), (1, "draining 1 event"), (0, "")])
def test_the_first_signal_says_what_it_waits_for_and_the_second_puts_that_back(
    count: int, said: str, herd: Oxherd, standalone: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    herd["slow"].emit_many_sync([1] * count)
    worker = start_worker(url=standalone)
    worker.wait("worker.start")
    worker.wait("event.begin", count=count)
    worker.signal(signal.SIGINT)
    if said:
        worker.wait(f"{said}; a second signal puts back what runs")
        worker.signal(signal.SIGINT)
    assert worker.exit() == 0
    assert worker.count("event.end", outcome="requeued") == count
    assert [record["msg"] for record in worker.records() if "draining" in record["msg"]] == (
        [f"{said}; a second signal puts back what runs"] if said else []
    )
    herd.close_sync()


def test_a_worker_whose_threads_go_on_ends_right_after_its_report_whatever_signals_come_then(
    herd: Oxherd, standalone: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    herd["thread"].emit_sync(1)
    worker = start_worker("--stop-timeout", "0.1", url=standalone)
    worker.wait("event.begin")
    worker.signal(signal.SIGTERM)
    worker.wait("worker.stop")
    reported = time.monotonic()
    while worker.process.poll() is None and time.monotonic() - reported < DEADLINE:
        worker.signal(signal.SIGTERM)
        time.sleep(0.01)
    assert worker.exit() == 0
    assert time.monotonic() - reported < 1.5
    herd.close_sync()
