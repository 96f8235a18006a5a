"""`run_in="process"`: errors are judged in the handler's process, and a timeout ends all that runs there."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.harness import WorkerProcess, cli, until_sync

APP = """
import asyncio, logging, os, signal, subprocess, sys, time
from oxherd import Context, Discard, Oxherd, Retry, RetryIn, Snooze

herd = Oxherd(prefix={prefix!r})
log = logging.getLogger("shop")

class Unsure(Exception):
    pass

def backoff(attempt, error):
    if isinstance(error, Unsure):
        raise error
    log.info("asked", extra={{"on": attempt, "why": repr(error), "pid": os.getpid()}})
    return 0.05

def retry(**options):
    return Retry(attempts=2, delay=0.02, jitter=0, backoff=backoff, **options)

@herd.event("order.work", run_in="process", retry=retry(on=(OSError, Unsure), never=ConnectionRefusedError))
def work(how: str, ctx: Context) -> None:
    log.info("at work", extra={{"pid": os.getpid()}})
    if how == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "snooze" and ctx.fence > 1:
        return
    raise {{
        "reset": ConnectionResetError("a"),
        "refused": ConnectionRefusedError(),
        "value": ValueError(),
        "group": ExceptionGroup("several", [OSError(), ValueError()]),
        "retry in": RetryIn(0.01),
        "snooze": Snooze(0.01),
        "discard": Discard("no"),
        "cancel": asyncio.CancelledError(),
        "unsure": Unsure("a"),
    }}[how]

def ignore():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass

def hold_lock():
    sum(range(10**12))

def fork():
    for _ in range(2):
        if not (forked := os.fork()):
            ignore()
        log.info("forked", extra={{"pid": forked}})
    started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    log.info("forked", extra={{"pid": started.pid}})
    ignore()

HOW = {{"ignore": ignore, "hold_lock": hold_lock, "fork": fork}}

def slow(how: str, ctx: Context) -> None:
    log.info("at work", extra={{"pid": os.getpid()}})
    HOW[how]()

# Found by its name in the process.
timed_out = herd.event("order.slow", run_in="process", timeout=0.5, retry=Retry(attempts=2, delay=0.02))(slow)
never = herd.event(
    "order.never", run_in="process", timeout=0.5, retry=Retry(attempts=2, never=TimeoutError)
)(slow)
"""
# As declared for `order.work`.
OUTCOMES = {
    "reset": ["retrying", "failed"],
    "refused": ["failed"],
    "value": ["failed"],
    "group": ["failed"],
    "retry in": ["retrying", "failed"],
    "snooze": ["retrying", "completed"],
    "discard": ["discarded"],
    "cancel": ["failed"],
    "unsure": ["retrying", "failed"],
    "die": ["retrying", "failed"],
}


@pytest.fixture
def start(
    tmp_path: Path, prefix: str, standalone: str, start_worker: Callable[..., WorkerProcess]
) -> Callable[..., tuple[WorkerProcess, list[str]]]:
    """Starts a worker for one event, and emits to it."""
    (tmp_path / "app.py").write_text(APP.format(prefix=prefix))

    def start(event: str, *hows: str) -> tuple[WorkerProcess, list[str]]:
        lines = "".join(json.dumps(how) + "\n" for how in hows)
        emitted = cli(tmp_path, "emit", "app:herd", event, "-", stdin=lines, url=standalone)
        assert emitted.returncode == 0, emitted.stderr
        return start_worker("--event", event, url=standalone), emitted.stdout.split()

    return start


def ends(worker: WorkerProcess, event_id: str) -> list[dict[str, Any]]:
    return [each for each in worker.records() if each["msg"] == "event.end" and each["event_id"] == event_id]


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def test_an_error_in_a_process_means_what_it_does_elsewhere(
    start: Callable[..., tuple[WorkerProcess, list[str]]],
) -> None:
    worker, ids = start("order.work", *OUTCOMES)
    for how, event_id in zip(OUTCOMES, ids, strict=True):
        worker.wait("event.end", count=len(OUTCOMES[how]), event_id=event_id)
    assert worker.stop() == 0
    found = {how: [end["outcome"] for end in ends(worker, each)] for how, each in zip(OUTCOMES, ids, strict=True)}
    assert found == OUTCOMES
    by_how = dict(zip(OUTCOMES, ids, strict=True))
    # The function is asked where the error is; of a death, in the worker.
    asked = [record for record in worker.records() if record["msg"] == "asked"]
    assert {(each["event_id"], each["on"], each["why"].partition("(")[0]) for each in asked} == {
        (by_how["reset"], 1, "ConnectionResetError"),
        (by_how["die"], 1, "HandlerDied"),
    }
    assert [each["pid"] == worker.process.pid for each in asked if each["event_id"] == by_how["die"]] == [True]
    assert [each["pid"] == worker.process.pid for each in asked if each["event_id"] == by_how["reset"]] == [False]
    waits = {
        how: ends(worker, by_how[how])[0]["retry_in_ms"] for how in ("reset", "retry in", "snooze", "unsure", "die")
    }
    assert waits == {"reset": 50, "retry in": 10, "snooze": 10, "unsure": 20, "die": 50}
    (fault,) = [record for record in worker.records() if record["msg"] == "queue.error"]
    assert fault["error"]["type"] == "BackoffError"
    assert "raised Unsure" in fault["error"]["message"]


@pytest.mark.parametrize("how", ["ignore", "hold_lock", "fork"])
def test_a_timeout_leaves_no_process_whatever_runs_there(
    start: Callable[..., tuple[WorkerProcess, list[str]]], how: str
) -> None:
    worker, (event_id,) = start("order.slow", how)
    worker.wait("event.end", count=2, event_id=event_id)
    first, last = ends(worker, event_id)
    assert (first["outcome"], last["outcome"]) == ("retrying", "timed_out")
    assert first["error"] == {"type": "TimedOut", "message": "timed out after 0.5 s"}
    begun = [record for record in worker.records() if record["msg"] == "at work"]
    for began, ended in zip(begun, (first, last), strict=True):
        took = datetime.fromisoformat(ended["ts"]) - datetime.fromisoformat(began["ts"])
        assert took < timedelta(seconds=1.5)
    pids = [record["pid"] for record in worker.records() if record["msg"] in ("at work", "forked")]
    assert len(pids) == (8 if how == "fork" else 2)
    until_sync(lambda: all(map(has_ended, pids)), deadline=1)
    assert worker.stop() == 0


def test_a_timeout_in_a_process_may_be_what_is_never_tried_again(
    start: Callable[..., tuple[WorkerProcess, list[str]]],
) -> None:
    worker, (event_id,) = start("order.never", "ignore")
    worker.wait("event.end", event_id=event_id, outcome="timed_out", attempt=1)
    assert worker.stop() == 0
