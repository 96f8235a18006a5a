"""Starts servers that die with this process, from any thread."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextvars import Context
from pathlib import Path
from typing import TypeAlias

# The rest of the environment may hold secrets, such as OXHERD_URL, and the embedded server outlives its first user.
_KEPT = ("DYLD_LIBRARY_PATH", "HOME", "LANG", "LC_ALL", "LC_COLLATE", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ")
_Job: TypeAlias = "tuple[Sequence[str], Path, Future[subprocess.Popen[bytes]]]"


def spawn(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start `command` in its own session, with its output appended to `log`; it is killed when this process ends."""
    return _spawner().spawn(command, log)


def server_environment() -> dict[str, str]:
    """The environment of a server: a few variables of this process."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ}


def script_command(name: str) -> list[str]:
    """The command that runs a script of this folder."""
    # -I and -S: isolated from the environment and site-packages, it starts in a few milliseconds.
    return [sys.executable, "-I", "-S", "-B", str(Path(__file__).with_name(name))]


class _Spawner:
    """One thread, alive as long as the process, that starts all servers.

    Linux ties a child's death to the thread that started it: the end of an executor's thread would kill its servers.
    """

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        thread = threading.Thread(target=self._run, name="oxherd-spawner", daemon=True)
        # An empty context: a handler may be the first to start a server.
        Context().run(thread.start)

    def spawn(self, command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        future: Future[subprocess.Popen[bytes]] = Future()
        self._jobs.put((command, log, future))
        return future.result()

    def _run(self) -> None:
        while True:
            command, log, future = self._jobs.get()
            try:
                future.set_result(_start(command, log))
            except Exception as error:  # noqa: BLE001 - raised to the caller by the future
                future.set_exception(error)


def _start(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        return subprocess.Popen(
            [*script_command("launch.py"), str(os.getpid()), str(int(signal.SIGKILL)), *command],
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            env=server_environment(),
            # A terminal's Ctrl-C must not reach it: the worker needs its server to stop gracefully.
            start_new_session=True,
        )
    finally:
        os.close(descriptor)


_lock = threading.Lock()
_current: list[_Spawner] = []


def _spawner() -> _Spawner:
    with _lock:
        # A forked process has no threads of its parent.
        if not _current or _current[0].owner != os.getpid():
            _current[:] = [_Spawner()]
        return _current[0]
