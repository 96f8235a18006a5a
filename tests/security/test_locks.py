"""What is installed is what was locked: exact versions with hashes, in every documented installation."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "requirements-dev.lock", "examples/requirements.lock", "examples/dashboard.lock")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def locked(lock: str) -> dict[str, str]:
    """What a lock says of each package: its version, and all that follows."""
    entries = re.split(r"^(?=\S)", (ROOT / lock).read_text(), flags=re.MULTILINE)
    return dict(entry.split("==", 1) for entry in entries if entry)


@pytest.mark.parametrize("lock", LOCKS)
def test_each_locked_version_is_exact_and_has_the_hashes_of_its_files(lock: str) -> None:
    for name, rest in locked(lock).items():
        assert re.fullmatch(r"[\w.]+( ; [^\\]+)? \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+", rest), name


def test_the_locks_agree_on_every_version() -> None:
    development = locked("requirements-dev.lock")
    for lock in LOCKS:
        for name, rest in locked(lock).items():
            assert rest.split()[0] == development[name].split()[0], (lock, name)


def test_the_build_backend_is_the_locked_one() -> None:
    [backend] = PROJECT["build-system"]["requires"]
    name, version = backend.split("==")
    assert {locked(lock)[name].split()[0] for lock in LOCKS[:2]} == {version}


@pytest.mark.parametrize("place", ["README.md", "Dockerfile", ".ci/run"])
def test_every_installation_compares_hashes_or_installs_nothing_but_this_project(place: str) -> None:
    text = (ROOT / place).read_text().replace("\\\n", " ")
    installs = [found.split(" && ")[0] for found in re.findall(r"pip\"? install (.+)", text.replace(" && ", "\n"))]
    assert installs
    for options in installs:
        if "oxherd[" in options:  # by its users, into their own project
            continue
        assert "--require-hashes" in options or {"--no-deps", "--no-build-isolation"} <= set(options.split()), options
