"""What the tests of the command line share: apps in a folder, keys on a server, errors in one line."""

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


def redis(url: str, *words: str | int) -> Reply:
    """One raw command to a server on TCP, as any program could send it."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    return command(Address(parts.hostname, parts.port or 6379), *words)


def keys(url: str, prefix: str) -> list[str]:
    """Every key below a prefix that only one test uses."""
    found = redis(url, "KEYS", f"{prefix}:*")
    assert isinstance(found, list)
    return sorted(map(str, found))


def one_line(done: subprocess.CompletedProcess[str], status: int) -> str:
    """The error of a command that ended with `status`: one line on standard error, and nothing else at all."""
    assert (done.returncode, done.stdout) == (status, ""), done
    assert done.stderr.startswith("oxherd: "), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith("\n")
    return done.stderr.removeprefix("oxherd: ").rstrip()


def refused(folder: Path, *arguments: str, url: str | None = None, stdin: str = "") -> str:
    """The error of a command that is wrong usage."""
    return one_line(cli(folder, *arguments, url=url, stdin=stdin), 2)


def start(folder: Path, *arguments: str, url: str | None = None) -> subprocess.Popen[str]:
    """A command of ours, in a session of its own, its output piped."""
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
