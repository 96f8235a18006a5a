"""The backend of Django's tasks in a project, whose cases Django's own runner runs in a process of their own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from oxherd.servers.local_cluster import LocalCluster
from tests.harness import run

PROJECT = Path(__file__).parent / "project"


def run_cases(folder: Path, module: str, url: str, prefix: str, **variables: str) -> None:
    """Run a module of cases, which share a worker's log, notes and signals in the folder."""
    files = {name: str(folder / name.lower()) for name in ("TEST_LOG", "TEST_NOTES", "TEST_SIGNALS")}
    for file in files.values():
        Path(file).touch()
    ran = run(
        PROJECT,
        sys.executable, "-W", "error::ResourceWarning", "-m", "django", "test", f"cases.{module}",
        timeout=120, OXHERD_URL=url, TEST_PREFIX=prefix, DJANGO_SETTINGS_MODULE="project_settings",
        PYTHONPATH=str(PROJECT), PYTHONDONTWRITEBYTECODE="1", **files, **variables,
    )  # fmt: skip
    log = Path(files["TEST_LOG"]).read_text()[-4000:]
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}\nthe worker's log:\n{log}"
    assert "\nOK" in ran.stderr, ran.stderr


@pytest.mark.parametrize("module", ["enqueuing", "running"])
def test_the_cases_pass(module: str, tmp_path: Path, standalone: str, prefix: str) -> None:
    run_cases(tmp_path, module, standalone, prefix)


def test_a_task_of_a_transaction_is_enqueued_by_its_commit(tmp_path: Path, standalone: str, prefix: str) -> None:
    run_cases(tmp_path, "on_commit", standalone, prefix, TEST_ON_COMMIT="1")


def test_a_server_that_is_away_is_told(tmp_path: Path, prefix: str) -> None:
    run_cases(tmp_path, "outage", f"unix://{tmp_path}/nobody.sock", prefix, TEST_EMIT_TIMEOUT="0.5")


@pytest.mark.slow
@pytest.mark.parametrize("module", ["enqueuing", "running"])
def test_the_cases_pass_on_a_cluster(module: str, tmp_path: Path, cluster: LocalCluster, prefix: str) -> None:
    run_cases(tmp_path, module, cluster.url, prefix)


@pytest.mark.slow
def test_a_task_whose_worker_dies_runs_again_and_says_so(tmp_path: Path, standalone: str, prefix: str) -> None:
    run_cases(tmp_path, "dying", standalone, prefix)
