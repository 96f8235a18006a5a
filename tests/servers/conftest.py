"""Other processes that use an embedded server, and what /proc says of processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from oxherd.redis.blocking import command
from oxherd.redis.url import Address
from oxherd.servers.embedded import EmbeddedServer

DEADLINE = 60.0  # seconds; the machine may be busy

USER = """
import sys
from pathlib import Path
from oxherd.servers.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]))
server.start()
print(server.url, flush=True)
sys.stdin.read()
server.stop()
"""


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Poll until `condition` holds; fail, naming `what`, after the deadline."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE:g} s: {what}"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def running_in(folder: Path) -> list[int]:
    """The processes whose command line or working folder is in `folder`."""
    found: list[int] = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and int(process.name) != os.getpid() and alive(int(process.name)):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                words = (process / "cmdline").read_bytes().decode(errors="replace")
                if str(folder) in words or (process / "cwd").readlink().is_relative_to(folder):
                    found.append(int(process.name))
    return found


def started(project: Path | None = None) -> EmbeddedServer:
    server = EmbeddedServer(project)
    server.start()
    return server


def server_pid(server: EmbeddedServer) -> int:
    info = str(command(Address(path=str(server.socket)), "INFO", "server"))
    return next(int(line.partition(":")[2]) for line in info.splitlines() if line.startswith("process_id:"))


class User:
    """Another process that uses the server of `project` until it is stopped or killed."""

    def __init__(self, project: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", USER, str(project)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    def url(self) -> str:
        """Wait until its server has started."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def stop(self) -> None:
        _, errors = self._process.communicate("", timeout=DEADLINE)
        assert (self._process.returncode, errors) == (0, "")

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate(timeout=DEADLINE)


@pytest.fixture
def new_user(project: Path) -> Generator[Callable[[], User]]:
    """Starts another process that uses the server; any that is left is killed."""
    users: list[User] = []

    def start() -> User:
        users.append(User(project))
        return users[-1]

    yield start
    for user in users:
        user.kill()


@pytest.fixture
def project(tmp_path: Path) -> Generator[Path]:
    """A project folder; no process may be left running in it after the test."""
    (tmp_path / "pyproject.toml").touch()
    yield tmp_path
    eventually(lambda: not running_in(tmp_path), f"the processes {running_in(tmp_path)} end")
