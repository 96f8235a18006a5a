"""The outbox of a Django project: its own processes, since Django has one settings module in each."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.harness import WorkerProcess, run
from tests.outbox.conftest import new_database

SETTINGS = """
import os
SECRET_KEY = "x"
USE_TZ = os.environ.get("APP_TZ") != "off"
TIME_ZONE = "America/New_York"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["oxherd.outbox.django", "shop"]
DATABASES = {"default": %s}
"""

MODELS = """
from django.db import models

class Order(models.Model):
    number = models.IntegerField()
"""

EVENTS = """
import os
from oxherd import Context, Oxherd
from oxherd.outbox.django import Outbox

herd = Oxherd(prefix=os.environ["APP_PREFIX"])
outbox = Outbox(herd, grace=0.5)

@herd.event("order.placed")
def order_placed(number: int, ctx: Context) -> None: ...
"""

APP = """
import os, threading, time
import django
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
django.setup()
from django.db import connection, transaction
from shop.events import herd, order_placed, outbox
from shop.models import Order
"""


class Project:
    """A Django project in a folder."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url

    def write(self, database: str) -> None:
        """Write its files, for the database of a URL."""
        parts = urlsplit(database)
        settings = {"ENGINE": "django.db.backends.sqlite3", "NAME": parts.path[1:]}
        if parts.scheme == "postgresql":
            settings |= {"ENGINE": "django.db.backends.postgresql", "HOST": parts.hostname, "PORT": parts.port}
            settings |= {"USER": parts.username, "CONN_MAX_AGE": None}  # pyright: ignore[reportOperatorIssue]
        (self.folder / "shop").mkdir()
        for name, text in {
            "settings.py": SETTINGS % settings,
            "shop/__init__.py": "",
            "shop/models.py": MODELS,
            "shop/events.py": EVENTS,
            "app.py": APP,
        }.items():
            (self.folder / name).write_text(text)

    def manage(self, *arguments: str) -> str:
        """Run a command of Django's; its output."""
        command = (sys.executable, "-m", "django", *arguments)
        ran = run(self.folder, *command, DJANGO_SETTINGS_MODULE="settings", PYTHONPATH=".", OXHERD_URL=self.url)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout + ran.stderr

    def program(self, text: str, zones: str = "on") -> tuple[int, str]:
        """Run a program of the project; its exit status and output."""
        program = f"from app import *\n{text}"
        ran = run(self.folder, sys.executable, "-c", program, OXHERD_URL=self.url, APP_TZ=zones)
        return ran.returncode, ran.stdout + ran.stderr


@pytest.fixture(params=[pytest.param("sqlite", marks=pytest.mark.slow), "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new database."""
    return new_database(request, tmp_path)


@pytest.fixture
def project(tmp_path: Path, database: str, prefix: str, standalone: str, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose table is migrated."""
    monkeypatch.setenv("APP_PREFIX", prefix)
    project = Project(tmp_path, standalone)
    project.write(database)
    project.manage("migrate", "--run-syncdb", "-v0")
    return project


TRANSACTIONS = """
with transaction.atomic():
    committed = outbox.emit(order_placed, 1)
    try:
        with transaction.atomic():
            inner = outbox.emit(order_placed, 2)
            raise ValueError
    except ValueError:
        pass
    with transaction.atomic():
        released = outbox.emit(order_placed, 3, delay=60)
    assert committed.status_sync() is None
try:
    with transaction.atomic():
        rolled_back = outbox.emit(order_placed, 4)
        raise ValueError
except ValueError:
    pass
alone = outbox.emit(order_placed, 5)
assert outbox.flush_sync()
states = [each.status_sync() and each.status_sync().state for each in (committed, inner, released, rolled_back, alone)]
print(*states, outbox.backlog_sync().waiting, threading.active_count())
"""


@pytest.mark.parametrize("zones", ["on", pytest.param("off", marks=pytest.mark.slow)])
def test_commits_rollbacks_and_savepoints_are_heeded(project: Project, zones: str) -> None:
    status, output = project.program(TRANSACTIONS, zones)
    assert output.startswith("waiting None delayed None waiting 0"), output
    assert status == 0


KILLED = """
with transaction.atomic():
    transaction.on_commit(lambda: os._exit(9))
    Order.objects.create(number=1)
    outbox.emit(order_placed, 1)
"""


TERMINATED = """
def place(number):
    with transaction.atomic():
        return outbox.emit(order_placed, number)

terminate = "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname = %s"
emitted = []
for number in range(5):
    emitted.append(place(number))
    assert outbox.flush_sync(30)
    with connection.cursor() as cursor:  # the background thread's, which stays open between two batches
        cursor.execute(terminate, [connection.settings_dict["NAME"]])
        assert cursor.rowcount == 1
assert outbox.flush_sync(30)
print(sum(each.status_sync() is not None for each in emitted), outbox.backlog_sync().waiting)
"""


@pytest.mark.slow
@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_a_connection_of_the_background_that_is_ended_costs_no_event(project: Project) -> None:
    status, output = project.program(TERMINATED)
    assert output.endswith("5 0\n"), output
    assert status == 0


@pytest.mark.slow
def test_a_worker_sends_what_a_killed_process_has_committed(
    project: Project, start_worker: Callable[..., WorkerProcess]
) -> None:
    assert project.program(KILLED) == (9, "")
    worker = start_worker(url=project.url)
    worker.wait("event.end", outcome="completed")
    status, output = project.program("while outbox.backlog_sync().waiting: time.sleep(0.05)\nprint('sent')")
    assert (status, output) == (0, "sent\n")
    assert worker.stop() == 0
    assert worker.count("event.begin") == 1
    assert not worker.count("queue.error")


def test_the_migrations_are_whole(project: Project) -> None:
    assert "No changes detected" in project.manage("makemigrations", "--check", "--dry-run", "oxherd_outbox")
    assert "no issues" in project.manage("check")


TESTS = """
from django.test import TestCase
from oxherd.testing import captured, inline
from shop.events import herd, order_placed, outbox

class PlaceOrder(TestCase):
    def test_it_emits(self):
        with captured(herd) as emits, self.captureOnCommitCallbacks(execute=True):
            outbox.emit(order_placed, 7, priority=3)
        emits.assert_emitted(order_placed, 7)
        self.assertEqual(emits.emits[0].priority, 3)
        self.assertEqual(outbox.backlog_sync().waiting, 0)

    def test_it_emits_nothing_where_the_transaction_does_not_end(self):
        with captured(herd) as emits, self.captureOnCommitCallbacks():
            outbox.emit(order_placed, 7)
        emits.assert_not_emitted(order_placed)

    def test_it_is_handled(self):
        with inline(herd):
            with self.captureOnCommitCallbacks(execute=True):
                emitted = outbox.emit(order_placed, 7)
            self.assertIsNone(emitted.result_sync())
"""


def test_a_test_case_sees_what_its_callbacks_emit(project: Project) -> None:
    (project.folder / "shop" / "tests.py").write_text(TESTS)
    assert "OK" in project.manage("test", "shop")
