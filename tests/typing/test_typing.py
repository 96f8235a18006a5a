"""pyright (strict) and mypy (strict) accept users' code, the examples included, and refuse each mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
MISTAKES = FOLDER / "mistakes.py"


def marked(checker: str) -> set[tuple[str, int]]:
    """The lines that this checker must refuse."""
    marks = ("# error", f"# error: {checker}")
    lines = enumerate(MISTAKES.read_text().splitlines(), start=1)
    return {(MISTAKES.name, number) for number, line in lines if line.endswith(marks)}


def run(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert not done.stderr
    return done.stdout


def by_pyright() -> dict[tuple[str, int], str]:
    """The errors by file and line; pyright counts lines from 0. The examples are in the project's own configuration."""
    output = run("pyright", "--project", str(FOLDER), "--pythonpath", sys.executable, "--outputjson")
    found = json.loads(output)["generalDiagnostics"]
    return {(Path(each["file"]).name, each["range"]["start"]["line"] + 1): each["message"] for each in found}


def by_mypy() -> dict[tuple[str, int], str]:
    """The errors by file and line."""
    files = [str(FOLDER / "uses.py"), str(MISTAKES), *map(str, (ROOT / "examples").glob("*.py"))]
    output = run("mypy", "--strict", "--output", "json", "--cache-dir", os.devnull, *files)
    found = [each for each in map(json.loads, output.splitlines()) if each["severity"] == "error"]
    return {(Path(each["file"]).name, each["line"]): each["message"] for each in found}


@pytest.mark.parametrize(("checker", "check"), [("pyright", by_pyright), ("mypy", by_mypy)])
def test_a_checker_accepts_what_is_right_and_refuses_each_mistake(
    checker: str, check: Callable[[], dict[tuple[str, int], str]]
) -> None:
    found, expected = check(), marked(checker)
    assert {place: message for place, message in found.items() if place not in expected} == {}
    assert expected - set(found) == set()
