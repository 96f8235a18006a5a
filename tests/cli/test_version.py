"""What is installed, as people ask for it."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from tests.harness import cli


def test_the_version_is_that_of_the_installed_package(tmp_path: Path) -> None:
    done = cli(tmp_path, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"oxherd {version('oxherd')}\n", "")
