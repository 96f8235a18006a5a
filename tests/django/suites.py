"""Runs Django's own test runner over the suites of `tests/django/project`, in a process and a folder of its own."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.harness import run

PROJECT = Path(__file__).parent / "project"
ROOT = Path(__file__).parents[2]


def django_tests(folder: Path, *options: str, **variables: str) -> str:
    """Run the suites; what was printed. Fails with that where a test of them does."""
    command = (sys.executable, "-W", "error::ResourceWarning", "-m", "django", "test", "-p", "suite_*.py", *options)
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
