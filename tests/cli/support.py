"""Helpers for tests of the command line: raw commands, keys, one-line errors, started commands."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from oxherd.redis.blocking import Reply, command
from oxherd.redis.url import Address
from tests.harness import cli, environment

WriteApp = Callable[[str], Path]


def redis(url: str, *words: str | bytes | int) -> Reply:
    """Send one raw command to a server on TCP."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    return command(Address(parts.hostname, parts.port or 6379), *words, password=parts.password)


def keys(url: str, prefix: str) -> list[str]:
    """Every key below the test's prefix."""
    found = redis(url, "KEYS", f"{prefix}:*")
    assert isinstance(found, list)
    return sorted(map(str, found))


def one_line(done: subprocess.CompletedProcess[str], status: int) -> str:
    """The error of a command that ended with `status`: one line on standard error and nothing else."""
    assert (done.returncode, done.stdout) == (status, ""), done
    assert done.stderr.startswith("oxherd: "), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith("\n")
    return done.stderr.removeprefix("oxherd: ").rstrip()


def refused(folder: Path, *arguments: str, url: str | None = None, stdin: str = "") -> str:
    """The error of a command that ended with wrong usage."""
    return one_line(cli(folder, *arguments, url=url, stdin=stdin), 2)


def start(folder: Path, *arguments: str, url: str | None = None) -> subprocess.Popen[str]:
    """Start a command in its own session, with its output piped."""
    extra = {} if url is None else {"OXHERD_URL": url}
    return subprocess.Popen(
        [sys.executable, "-m", "oxherd", *arguments],
        cwd=folder,
        env=environment(**extra),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
