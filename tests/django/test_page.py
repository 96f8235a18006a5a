"""The project of docs/django.md, made as it stands there."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.django.shop import DEADLINE
from tests.harness import environment, run, until_sync

PAGE = (Path(__file__).parents[2] / "docs" / "django.md").read_text()

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What `startproject` and `startapp` make, with the page's files."""
    for command in (("startproject", "mysite", "."), ("startapp", "shop")):
        assert run(tmp_path, sys.executable, "-m", "django", *command).returncode == 0
    for name, text in re.findall(r"^```python\n# (\S+\.py)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE):
        with (tmp_path / name).open("a" if name.startswith("mysite/") else "w") as file:
            file.write(text)
    return tmp_path


def manage(project: Path, *arguments: str, url: str) -> subprocess.CompletedProcess[str]:
    return run(project, sys.executable, "manage.py", *arguments, OXHERD_URL=url)


def test_its_tests_pass(project: Path) -> None:
    ran = manage(project, "test", url="")
    assert ran.returncode == 0, ran.stderr
    assert "Ran 3 tests" in ran.stderr


def test_its_worker_welcomes_who_has_joined(project: Path, standalone: str) -> None:
    assert manage(project, "migrate", "-v", "0", url=standalone).returncode == 0
    log = project / "worker.log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "manage.py", "oxherd", "worker"],
            cwd=project,
            env=environment(OXHERD_URL=standalone),
            stdout=output,
            stderr=output,
        )
    try:
        ask = (
            "from django.test import Client; print(Client().post('/join/ada/', headers={'host': 'localhost'}).content)"
        )
        asked = manage(project, "shell", "-v", "0", "-c", ask, url=standalone)
        event_id = asked.stdout.strip()[-13:-1]
        until_sync(lambda: f"{event_id}  completed" in log.read_text(), DEADLINE)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(DEADLINE) == 0
    finally:
        worker.kill()
        worker.wait()
