"""Lifespans, dependencies and middleware where the handler runs in a process of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import WorkerProcess, cli, until_sync

APP = """
import asyncio, json, os, threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any
from oxherd import CallNext, Context, Depends, HandlerRaised, Oxherd, Retry

herd = Oxherd()

def note(text: str) -> None:
    with Path("notes").open("a") as file:
        file.write(json.dumps([text, os.getpid()]) + "\\n")

@herd.worker_lifespan
async def pool(herd: Oxherd) -> AsyncIterator[list[int]]:
    if Path("broken").exists():
        raise ConnectionError("no database at postgres://app:hunter2@db")
    note("open")
    beats = [0]
    async def beat() -> None:
        while True:
            beats[0] += 1
            await asyncio.sleep(0.01)
    task = asyncio.create_task(beat())
    yield beats
    task.cancel()
    note("close")

async def lent(beats: Annotated[list[int], Depends(pool)], ctx: Context) -> AsyncIterator[list[int]]:
    try:
        yield beats
    except ValueError:
        note("lent saw ValueError")
        raise
    finally:
        note("lent closed")

def session(beats: Annotated[list[int], Depends(lent)]) -> Iterator[list[int]]:
    try:
        yield beats
    finally:
        note("session closed in " + threading.current_thread().name)

@herd.event("order.work", run_in="process", retry=Retry(attempts=1))
def work(number: int, beats: Annotated[list[int], Depends(session)]) -> dict[str, Any]:
    if number < 0:
        raise ValueError(number)
    before = beats[0]
    while beats[0] < before + 3:  # the loop turns while the handler computes
        pass
    note("worked")
    return {"number": number}

@herd.event("order.alone", run_in="process", retry=Retry(attempts=1))
def alone(number: int) -> str:
    note("worked")
    return "done"
"""

MIDDLEWARE = """
@herd.middleware
async def watch(ctx: Context, call_next: CallNext) -> object:
    try:
        result = await call_next(ctx)
    except HandlerRaised as error:
        note(f"raised {error.type}: {error.message}")
        raise
    note(f"returned {result}")
    return result
"""


@pytest.fixture
def notes(tmp_path: Path) -> Callable[[], list[str]]:
    def read() -> list[str]:
        file = tmp_path / "notes"
        return [json.loads(line)[0] for line in file.read_text().splitlines()] if file.exists() else []

    return read


def pids(folder: Path) -> set[int]:
    return {json.loads(line)[1] for line in (folder / "notes").read_text().splitlines()}


@pytest.fixture
def start(tmp_path: Path, standalone: str, start_worker: Callable[..., WorkerProcess]) -> Callable[..., WorkerProcess]:
    def start(*arguments: str, more: str = "") -> WorkerProcess:
        (tmp_path / "app.py").write_text(APP.replace("Oxherd()", f"Oxherd(prefix={tmp_path.name!r})") + more)
        return start_worker(*arguments, url=standalone)

    return start


def emit(folder: Path, url: str, event: str, number: int) -> None:
    assert cli(folder, "emit", "app:herd", event, "--", str(number), url=url).returncode == 0


def test_a_process_opens_lifespans_of_its_own_and_closes_what_each_run_needs(
    start: Callable[..., WorkerProcess], notes: Callable[[], list[str]], tmp_path: Path, standalone: str
) -> None:
    worker = start()
    emit(tmp_path, standalone, "order.work", 1)
    worker.wait("event.end", outcome="completed")
    emit(tmp_path, standalone, "order.work", -1)
    worker.wait("event.end", outcome="failed")
    assert worker.stop() == 0
    run = ["session closed in MainThread", "lent closed"]
    failed = ["session closed in MainThread", "lent saw ValueError", "lent closed"]
    assert notes() == ["open", "worked", *run, *failed, "close"]
    assert len(pids(tmp_path)) == 1
    assert worker.process.pid not in pids(tmp_path)


def test_middleware_runs_in_the_worker_and_sees_a_description(
    start: Callable[..., WorkerProcess], notes: Callable[[], list[str]], tmp_path: Path, standalone: str
) -> None:
    worker = start("--event", "order.work", more=MIDDLEWARE)
    emit(tmp_path, standalone, "order.work", 1)
    worker.wait("event.end", outcome="completed")
    emit(tmp_path, standalone, "order.work", -123456)
    worker.wait("event.end", outcome="failed")
    (end,) = [each for each in worker.records() if each.get("outcome") == "failed"]
    assert end["error"]["type"] == "ValueError"
    assert worker.stop() == 0
    assert notes().count("open") == notes().count("close") == 2
    assert "returned {'number': 1}" in notes()
    (raised,) = [each for each in notes() if each.startswith("raised")]
    assert raised == f"raised ValueError: {end['error']['message']}"
    assert "123456" not in raised
    assert worker.process.pid in pids(tmp_path)


def test_a_lifespan_that_fails_in_a_process_fails_the_event_and_says_why(
    start: Callable[..., WorkerProcess], notes: Callable[[], list[str]], tmp_path: Path, standalone: str
) -> None:
    (tmp_path / "broken").touch()
    worker = start()
    emit(tmp_path, standalone, "order.alone", 1)
    worker.wait("event.end", outcome="failed")
    (end,) = [each for each in worker.records() if each["msg"] == "event.end"]
    assert "lifespan pool failed to open (ConnectionError at app.py:" in end["error"]["message"]
    assert "hunter2" not in worker.log.read_text()
    assert worker.stop() == 0
    assert notes() == []


def test_a_worker_whose_lifespan_fails_ends_with_one_line(start: Callable[..., WorkerProcess], tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    worker = start(more=MIDDLEWARE)
    assert worker.exit() == 1
    (line,) = [line for line in worker.log.read_text().splitlines() if "lifespan" in line]
    assert re.search(r"The worker lifespan pool failed to open \(ConnectionError at app.py:\d+ pool\); mend it", line)
    assert "Traceback" not in worker.log.read_text()
    assert "hunter2" not in worker.log.read_text()


def test_a_signal_ends_a_worker_whose_lifespan_still_opens(
    start: Callable[..., WorkerProcess], notes: Callable[[], list[str]]
) -> None:
    slow = """
@herd.worker_lifespan
async def slow(herd: Oxherd) -> AsyncIterator[None]:
    note("waiting")
    await asyncio.Event().wait()
    yield
"""
    worker = start(more=MIDDLEWARE + slow)
    until_sync(lambda: "waiting" in notes())
    assert worker.stop() == 0
    assert notes() == ["open", "waiting", "close"]
