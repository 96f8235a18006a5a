"""Runs commands of ours in a terminal: a pty of a given size, whose output is read as it comes."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.harness import DEADLINE, environment

_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


class Terminal:
    """A command that runs in a terminal."""

    def __init__(self, folder: Path, *arguments: str, columns: int, variables: dict[str, str]) -> None:
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        given = {"TERM": "xterm-256color", **variables}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "oxherd", *arguments],
            cwd=folder,
            env={name: value for name, value in environment(**given).items() if name not in ("COLUMNS", "LINES")},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            preexec_fn=_own_terminal,
        )
        os.close(theirs)
        self.text = ""

    def wait_for(self, text: str, deadline: float = DEADLINE) -> None:
        """Read until a text has come."""
        end = time.monotonic() + deadline
        while text not in self.text:
            assert time.monotonic() < end, f"no {text!r} in {self.text!r}"
            if not self._read(0.1) and self.process.poll() is not None:
                assert text in self.text, f"it ended without {text!r}: {self.text!r}"

    def read_for(self, seconds: float) -> None:
        """Read what comes within a time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._read(left)

    def type(self, text: str) -> None:
        """Type a text; `\\x03` is Ctrl-C."""
        os.write(self.ours, text.encode())

    def end(self, deadline: float = 60) -> int:
        """Read to the end; the exit status."""
        end = time.monotonic() + deadline
        while self._read(0.1) or self.process.poll() is None:
            assert time.monotonic() < end, self.text
        while self._read(0.1):  # what it wrote last
            pass
        return self.process.wait()

    @property
    def lines(self) -> list[str]:
        """What has been printed, without colour, a line each; of one that was written over, what was written last."""
        return [line.rstrip("\r").rpartition("\r")[2] for line in _ESCAPES.sub("", self.text).split("\n")]

    def close(self) -> None:
        """End it for certain."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.ours)

    def _read(self, seconds: float) -> bool:
        if not select.select([self.ours], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.ours, 65536)
        except OSError:  # the other end is closed
            return False
        self.text += data.decode("utf-8", "replace")
        return bool(data)


def _own_terminal() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def terminal(folder: Path, *arguments: str, url: str, columns: int = 80, **variables: str) -> Generator[Terminal]:
    """A command of ours in a terminal."""
    started = Terminal(folder, *arguments, columns=columns, variables={"OXHERD_URL": url, **variables})
    try:
        yield started
    finally:
        started.close()


def in_terminal(
    folder: Path, *arguments: str, url: str, columns: int = 80, status: int = 0, **variables: str
) -> list[str]:
    """The lines that a command of ours has printed in a terminal, without colour."""
    with terminal(folder, *arguments, url=url, columns=columns, **variables) as started:
        assert started.end() == status, started.text
        return [line for line in started.lines if line]
