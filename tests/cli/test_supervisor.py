"""`oxherd worker --processes N` and `--reload`: workers that are kept running, and stopped together."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import WorkerProcess, cli, until_sync

APP = """
import asyncio, logging, os, time
from oxherd import Oxherd

logging.getLogger("app").info("loaded", extra={"pid": os.getpid(), "edition": EDITION})
herd = Oxherd()

@herd.event("order.short", concurrency=5)
async def short(order: dict[str, int]) -> None:
    await asyncio.sleep(0.02)

@herd.event("order.long")
async def long(order: dict[str, int]) -> None:
    await asyncio.sleep(60)
"""


class Shop:
    """A project with an embedded server and supervised workers."""

    def __init__(self, folder: Path, start_worker: Callable[..., WorkerProcess]) -> None:
        self.folder = folder
        self._start = start_worker
        self._started: list[WorkerProcess] = []
        self.edit(1)
        (folder / "pyproject.toml").touch()

    def edit(self, edition: int, text: str = APP) -> None:
        (self.folder / "app.py").write_text(text.replace("EDITION", str(edition)))

    def supervisor(self, *arguments: str) -> WorkerProcess:
        self._started.append(self._start(*arguments, url=""))
        return self._started[-1]

    def close(self) -> None:
        """End it all, also where a test has failed halfway: the workers end with their supervisor."""
        for supervisor in self._started:
            supervisor.close()
            until_sync(lambda log=supervisor.log: all(gone(pid) for pid in loaded(log)))

    def emit(self, event: str, count: int) -> None:
        emitted = cli(self.folder, "emit", "app:herd", event, "-", stdin='{"n": 1}\n' * count)
        assert emitted.returncode == 0, emitted.stderr


@pytest.fixture
def shop(tmp_path: Path, start_worker: Callable[..., WorkerProcess]) -> Iterator[Shop]:
    shop = Shop(tmp_path, start_worker)
    yield shop
    shop.close()


def loaded(log: Path, edition: int | None = None) -> list[int]:
    """The processes that have loaded the app, the supervisor included."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{") and line.endswith("}")]
    found: list[dict[str, Any]] = [line for line in lines if line["msg"] == "loaded"]
    return [line["pid"] for line in found if edition in (None, line["edition"])]


def workers(supervisor: WorkerProcess, edition: int | None = None) -> list[int]:
    return [pid for pid in loaded(supervisor.log, edition) if pid != supervisor.process.pid]


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_worker_that_dies_is_replaced_and_ctrl_c_stops_all(shop: Shop) -> None:
    supervisor = shop.supervisor("--processes", "2")
    supervisor.wait("worker.start", 2)
    first, second = workers(supervisor)
    os.kill(first, signal.SIGKILL)
    message = f"worker process {first} ended (signal 9); starting another in 0.1 s"
    supervisor.wait(message, pid=first, status=-9, level="WARNING", logger="oxherd")
    supervisor.wait("worker.start", 3)
    third = workers(supervisor)[-1]
    supervisor.signal(signal.SIGINT)
    assert supervisor.exit() == 0
    assert supervisor.count("worker.stop") == 2
    assert all(gone(pid) for pid in (first, second, third))


def test_sigterm_under_load_drains_every_worker(shop: Shop) -> None:
    supervisor = shop.supervisor("--processes", "2", "--event", "order.short")
    supervisor.wait("worker.start", 2)
    shop.emit("order.short", 500)
    supervisor.wait("event.end", 20)
    assert supervisor.stop() == 0
    assert supervisor.count("worker.stop", requeued=0, stranded=0) == 2
    begun = [(record["event_id"], record["fence"]) for record in supervisor.records() if record["msg"] == "event.begin"]
    ended = [(record["event_id"], record["fence"]) for record in supervisor.records() if record["msg"] == "event.end"]
    assert sorted(begun) == sorted(ended)
    assert len(begun) < 500


def test_a_second_sigterm_is_passed_on_too(shop: Shop) -> None:
    supervisor = shop.supervisor("--processes", "2", "--stop-timeout", "60")
    supervisor.wait("worker.start", 2)
    shop.emit("order.long", 1)
    supervisor.wait("event.begin")
    supervisor.signal(signal.SIGTERM)
    # The idle one has taken note of the first, and ended.
    supervisor.wait("worker.stop", requeued=0)
    assert supervisor.stop() == 0
    assert supervisor.count("event.end", outcome="requeued") == 1


def test_workers_end_with_their_killed_supervisor(shop: Shop) -> None:
    supervisor = shop.supervisor("--processes", "2")
    supervisor.wait("worker.start", 2)
    supervisor.signal(signal.SIGKILL)
    supervisor.exit()
    until_sync(lambda: all(gone(pid) for pid in workers(supervisor)))
    assert supervisor.count("worker.stop") == 2


def test_wrong_usage_stops_all_with_status_2(shop: Shop) -> None:
    shop.edit(1, "from oxherd import Oxherd\nherd = Oxherd()\n")
    supervisor = shop.supervisor("--processes", "2")
    assert supervisor.exit() == 2
    assert "oxherd: No event has a handler" in supervisor.log.read_text()


def test_a_changed_python_file_restarts_the_workers(shop: Shop) -> None:
    hidden = shop.folder / ".venv"
    hidden.mkdir()
    supervisor = shop.supervisor("--reload")
    supervisor.wait("worker.start")
    (hidden / "ignored.py").touch()
    shop.edit(1, "def (")
    supervisor.wait("app.py changed; restarting the workers")
    (broken,) = waited(supervisor, "at the next change")
    assert broken["status"] == 2
    shop.edit(2)
    supervisor.wait("worker.start", 2)
    assert len(workers(supervisor, edition=2)) == 1
    assert supervisor.count(".venv/ignored.py changed; restarting the workers") == 0
    assert supervisor.stop() == 0


def waited(supervisor: WorkerProcess, words: str) -> list[dict[str, Any]]:
    return until_sync(lambda: [record for record in supervisor.records() if words in record["msg"]])
