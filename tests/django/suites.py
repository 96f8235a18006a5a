"""Runs Django's own test runner over a suite of `tests/django/project`, in a process and a folder of its own."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.harness import run

PROJECT = Path(__file__).parent / "project"
ROOT = Path(__file__).parents[2]


def django_tests(folder: Path, suite: str, **variables: str) -> str:
    """Run a suite; what it printed. Fails with that where a test of it does."""
    command = (sys.executable, "-W", "error::ResourceWarning", "-m", "django", "test", "--pattern", f"{suite}.py")
    ran = run(
        PROJECT,
        *command,
        timeout=120,
        DJANGO_SETTINGS_MODULE="settings",
        PYTHONPATH=f"{PROJECT}:{ROOT}",
        SUITE_FOLDER=str(folder),
        **variables,
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-8000:]
    return ran.stderr
