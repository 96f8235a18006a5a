"""How a supervisor asks its workers: a pair of sockets for each, which no other process can reach or find."""

from __future__ import annotations

import json
import socket
import threading
import time
from dataclasses import asdict
from typing import Any

from oxherd.telemetry.http.health_source import ProcessSource

HEALTH, NUMBERS = b"health", b"numbers"
_PART = 65536


def answer(connection: socket.socket, source: ProcessSource) -> None:
    """Answer the supervisor's questions from now on, in a thread of its own."""
    threading.Thread(target=_answer, args=(connection, source), name="oxherd-answers", daemon=True).start()


def _answer(connection: socket.socket, source: ProcessSource) -> None:
    with connection, connection.makefile("rb") as questions:
        for question in questions:
            if question.rstrip() == HEALTH:
                told: Any = source.health()
            else:
                snapshot = source.snapshot()
                told = None if snapshot is None else asdict(snapshot)
            try:
                connection.sendall(json.dumps(told).encode() + b"\n")
            except OSError:  # the supervisor has gone, and with it this worker
                return


class Channel:
    """The supervisor's end of a pair; `theirs` is the worker's, to be handed to it and closed here.

    May be asked from several threads, one after the other.
    """

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair()
        self._turn = threading.Lock()
        self._read = b""
        self._owed = False
        self.answered = False
        self._silent_since: float | None = None

    def ask(self, question: bytes, seconds: float) -> Any:
        """The worker's answer; None where it does not come within so many seconds."""
        until = time.monotonic() + seconds
        if not self._turn.acquire(timeout=seconds):
            return None
        try:
            # One that came too late for who had asked is read first: a worker is never asked twice at once.
            line = self._line(until) if self._owed else b""
            if line is not None:
                self._ours.settimeout(max(0.001, until - time.monotonic()))
                self._ours.sendall(question + b"\n")
                self._owed = True
                line = self._line(until)
        except OSError:
            line = None
        finally:
            self._turn.release()
        if line is None:
            self._silent_since = self._silent_since or time.monotonic()
            return None
        self.answered, self._silent_since = True, None
        return json.loads(line)

    @property
    def silent_seconds(self) -> float:
        """For how long it has not answered, from the first question on that it has not."""
        since = self._silent_since
        return 0.0 if since is None else time.monotonic() - since

    def close(self) -> None:
        """The worker has ended."""
        self._ours.close()

    def _line(self, until: float) -> bytes | None:
        while b"\n" not in self._read:
            left = until - time.monotonic()
            if left <= 0:
                return None
            self._ours.settimeout(left)
            part = self._ours.recv(_PART)
            if not part:
                return None
            self._read += part
        line, _, self._read = self._read.partition(b"\n")
        self._owed = False
        return line
