"""The examples' tests, as their users run them: beside a development worker, and several sessions at once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import PYTEST, environment, until_sync

EXAMPLES = Path(__file__).parents[2] / "examples" / "testing"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copytree(EXAMPLES, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def session(project: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PYTEST, "-W", "error", *arguments],
        cwd=project,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_examples_pass_and_leave_nothing_in_the_project(project: Path) -> None:
    output, _ = session(project).communicate(timeout=120)
    assert "9 passed" in output, output
    assert not (project / ".oxherd").exists()


@pytest.mark.slow
def test_two_sessions_beside_a_worker_of_the_project_get_nothing_of_each_other(project: Path) -> None:
    log = project / "worker.jsonl"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "oxherd", "worker", "shop:herd", "--log-format", "json"]
        worker = subprocess.Popen(command, cwd=project, env=environment(), stderr=output)
    try:
        until_sync(lambda: "worker.start" in log.read_text())
        for each in [session(project, "-n", "2") for _ in range(2)]:
            output, _ = each.communicate(timeout=120)
            assert "9 passed" in output, output
    finally:
        worker.terminate()
        worker.wait(20)
    assert "worker.stop" in log.read_text()
    assert "event.begin" not in log.read_text()
