"""A process may die at any moment: what it has committed is sent, and makes one event."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy import text as text_of

from tests.harness import WorkerProcess, run, until_sync
from tests.outbox.conftest import new_database, sync_url

APP = """
import os, signal, threading, time
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from oxherd import Oxherd
from oxherd.outbox import Outbox

herd = Oxherd(prefix=os.environ["APP_PREFIX"])
engine = create_engine(os.environ["APP_DATABASE"])
outbox = Outbox(herd, engine, grace=0.5)

@herd.event("order.placed")
def order_placed(number: int) -> None: ...

def place(number):
    with Session(engine) as session, session.begin():
        return outbox.emit(session, order_placed, number)
"""


# Both kinds in each process of these tests would take its time twice.
@pytest.fixture(params=[pytest.param("sqlite", marks=pytest.mark.slow), "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new database."""
    return new_database(request, tmp_path)


@pytest.fixture
def app(tmp_path: Path, database: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "app.py").write_text(APP)
    monkeypatch.setenv("APP_PREFIX", prefix)
    monkeypatch.setenv("APP_DATABASE", sync_url(database))
    return tmp_path


def program(folder: Path, url: str, text: str) -> tuple[int, str]:
    """Run a program of the app; its exit status and output."""
    ran = run(folder, sys.executable, "-c", f"from app import *\n{text}", OXHERD_URL=url)
    return ran.returncode, ran.stdout + ran.stderr


def waiting(engine: Engine) -> int:
    """How many rows there are."""
    with engine.connect() as connection:
        return connection.execute(text_of("select count(*) from oxherd_outbox")).scalar_one()


# Dies in the very moment after the commit: the hook of the outbox has not run, or its thread has not begun.
KILLED = """
outbox.create_table_sync()
place(0)
assert outbox.flush_sync()
from sqlalchemy import event
@event.listens_for(Session, "after_commit")
def die(session):
    os.kill(os.getpid(), signal.SIGKILL)
place(1)
"""

# Dies between Redis' acknowledgement and the delete.
KILLED_BEFORE_DELETE = """
outbox.create_table_sync()
from sqlalchemy import event
@event.listens_for(engine, "before_cursor_execute")
def die(connection, cursor, statement, parameters, context, executemany):
    if statement.startswith("DELETE"):
        os._exit(9)
place(0)
place(1)
outbox.flush_sync()
"""


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(KILLED, id="before the send"),
        pytest.param(KILLED_BEFORE_DELETE, id="before the delete", marks=pytest.mark.slow),
    ],
)
def test_a_worker_sends_what_a_killed_process_has_committed(
    app: Path, text: str, standalone: str, start_worker: Callable[..., WorkerProcess], engine: Engine
) -> None:
    status, output = program(app, standalone, text)
    assert status in (-9, 9), output
    worker = start_worker(url=standalone)
    worker.wait("event.end", count=2, outcome="completed")
    until_sync(lambda: waiting(engine) == 0)
    assert worker.stop() == 0
    assert worker.count("event.begin") == 2
    assert not worker.count("queue.error")


@pytest.mark.slow
def test_a_killed_transaction_emits_nothing(
    app: Path, standalone: str, start_worker: Callable[..., WorkerProcess], engine: Engine
) -> None:
    text = """
outbox.create_table_sync()
place(1)
assert outbox.flush_sync()
session = Session(engine)
outbox.emit(session, order_placed, 2)
session.flush()
os._exit(9)
"""
    assert program(app, standalone, text) == (9, "")
    worker = start_worker(url=standalone)
    worker.wait("event.end", outcome="completed")
    assert worker.stop() == 0
    assert worker.count("event.begin") == 1
    assert waiting(engine) == 0


def test_a_process_ends_at_once_whatever_is_not_sent(app: Path) -> None:
    text = "outbox.create_table_sync(); place(1); print(outbox.flush_sync(0.01), outbox.backlog_sync().waiting)"
    status, output = program(app, "redis://127.0.0.1:1", text)
    assert status == 0
    assert "False 1" in output


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_sends_with_a_thread_of_its_own(app: Path, standalone: str) -> None:
    text = """
outbox.create_table_sync()
place(1)
assert outbox.flush_sync()
engine.dispose()
child = os.fork()
emitted = place(2)
sent = outbox.flush_sync() and emitted.status_sync() is not None
if child == 0:
    os._exit(0 if sent else 1)
_, status = os.waitpid(child, 0)
threads = [thread.name for thread in threading.enumerate()].count("oxherd-outbox")
print(sent, os.waitstatus_to_exitcode(status), outbox.backlog_sync().waiting, threads)
"""
    status, output = program(app, standalone, text)
    assert output.endswith("True 0 0 1\n"), output
    assert status == 0
