"""The page docs/django-tasks.md does what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import django
import pytest

from tests.django_tasks import test_djangos_own
from tests.harness import DEADLINE, environment, run

PAGE = (Path(__file__).parents[2] / "docs" / "django-tasks.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
SETTINGS, TASKS, PROGRAM, OPTIONS, DECORATED = BLOCKS

BEFORE = """
import os
from oxherd import Rate, Retry
SECRET_KEY = "of a test"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
OXHERD = {"URL": os.environ["OXHERD_URL"], "PREFIX": os.environ["TEST_PREFIX"]}
"""
AFTER = """
INSTALLED_APPS += ["django.contrib.contenttypes", "django.contrib.auth"]
"""
WAIT = """
from contextlib import suppress
from uuid import UUID
from oxherd import EventFailed
with suppress(EventFailed):
    result.task.get_backend().events["mail"].emitted(UUID(result.id)).result_sync(timeout=30)
"""


def on_this_django(text: str) -> str:
    if django.VERSION >= (6, 0):
        return text
    changed = text.replace("from django.tasks import", "from django_tasks import")
    return changed.replace('    "oxherd.django",', '    "oxherd.django", "django_tasks",')


def make_project(folder: Path, *settings: str, tasks: str) -> None:
    (folder / "project_settings.py").write_text(on_this_django(BEFORE + "".join(settings) + AFTER))
    (folder / "shop").mkdir()
    (folder / "shop" / "tasks.py").write_text(on_this_django(tasks))


def variables(folder: Path, url: str, prefix: str) -> dict[str, Any]:
    return {
        "OXHERD_URL": url, "TEST_PREFIX": prefix, "PYTHONPATH": str(folder),
        "DJANGO_SETTINGS_MODULE": "project_settings",
    }  # fmt: skip


def test_the_first_task_runs_and_its_error_shows_none_of_its_arguments(
    tmp_path: Path, standalone: str, prefix: str
) -> None:
    make_project(tmp_path, SETTINGS, tasks=TASKS)
    setup, failing = "import django\ndjango.setup()\n", PROGRAM.replace("enqueue(7", "enqueue(-1")
    ended, never = (
        PROGRAM.replace("result.refresh()", WAIT + "result.refresh()"),
        failing.replace("result.return_value", ""),
    )
    never = never.replace("result.refresh()", WAIT + "result.refresh()")
    script = f"{setup}{ended}\nprint(result.return_value)\n{never}\nprint(result.errors[0].traceback)"
    given = variables(tmp_path, standalone, prefix)
    with (tmp_path / "log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "django", "oxherd", "worker"],
            cwd=tmp_path, env=environment(**given), stdout=log, stderr=log,
        )  # fmt: skip
    try:
        ran = run(tmp_path, sys.executable, "-c", script, timeout=DEADLINE * 3, **given)
    finally:
        worker.kill()
        worker.wait()
    lines = ran.stdout.splitlines()
    assert lines[0] == "receipt 7", ran.stderr + (tmp_path / "log").read_text()
    assert [line for line in lines if line][-1] == "ValueError: no order of ***"
    listed = run(tmp_path, sys.executable, "-m", "django", "oxherd", "ls", **given)
    assert "django.tasks.mail" in listed.stdout


def test_the_options_are_sound(tmp_path: Path, standalone: str, prefix: str) -> None:
    extra = "from django.tasks import task\nfrom oxherd import Retry\n"
    keyed = (
        OPTIONS.replace('"BY_QUEUE"', '"SHARDS": 2, "BY_QUEUE"') + 'TASKS["default"]["QUEUES"] = ["default", "mail"]\n'
    )
    decorated = DECORATED if django.VERSION < (6, 0) or django.VERSION >= (6, 1) else ""
    # Shards have no rate of a queue.
    make_project(tmp_path, SETTINGS, keyed.replace(', "RATE": Rate(100, per=60)', ""), tasks=extra + decorated)
    given = variables(tmp_path, standalone, prefix)
    script = "import django\ndjango.setup()\nimport shop.tasks\n"
    for command in (("-m", "django", "check"), ("-c", script)):
        ran = run(tmp_path, sys.executable, *command, **given)
        assert ran.returncode == 0, ran.stderr
    (tmp_path / "project_settings.py").write_text(on_this_django(BEFORE + SETTINGS + OPTIONS + AFTER))
    ran = run(tmp_path, sys.executable, "-m", "django", "check", **given)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("left_out", [test_djangos_own.LEFT_OUT])
def test_the_page_lists_the_tests_of_django_that_are_left_out(left_out: dict[str, dict[str, dict[str, str]]]) -> None:
    listed = PAGE[PAGE.index("## Django's own tests") :]
    for cases in left_out.values():
        for tests in cases.values():
            for name in tests:
                assert f"{name}`" in listed
