"""The runner counts inputs, keeps those that crash, and reports them by its status."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris has no wheel for this system")
def test_a_run_without_a_crash_ends_with_0_and_leaves_nothing(tmp_path: Path) -> None:
    crashes = tmp_path / "crashes"
    done = run("-m", "tests.fuzz", "--target", "every", "--runs", "400", "--crashes", str(crashes))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:3] == ["every", "400", "inputs"]
    assert "0 crashes" in done.stdout
    assert not crashes.exists()


@pytest.mark.skipif(find_spec("atheris") is not None, reason="atheris is installed")
def test_a_run_without_atheris_is_an_error() -> None:
    done = run("-m", "tests.fuzz")
    assert done.returncode == 2
    assert "atheris is not installed" in done.stderr


def test_crashing_inputs_are_kept_one_a_location_and_the_status_is_1(tmp_path: Path) -> None:
    code = "import pathlib, sys; from tests.fuzz.guided import Session; crash = Session(lambda data: 1 / len(data), 4, "
    code += "pathlib.Path(sys.argv[1])); [crash(data) for data in (b'fine', b'', b'', b'fine')]"
    done = run("-c", code, str(tmp_path))
    assert done.returncode == 1
    assert json.loads(done.stdout)["inputs"] == 4
    assert json.loads(done.stdout)["crashes"] == 1
    (kept,) = tmp_path.iterdir()
    assert (kept.name.partition("-")[0], kept.read_bytes()) == ("ZeroDivisionError", b"")
    assert "ZeroDivisionError: division by zero" in done.stderr
