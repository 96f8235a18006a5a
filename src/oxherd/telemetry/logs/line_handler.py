"""Writes each record as one line, at once, with one system call."""

from __future__ import annotations

import logging
import os
import select
import threading
from collections import deque
from contextlib import suppress

_MAX_BACKLOG_BYTES = 16 * 1024 * 1024
_FLUSH_SECONDS = 2.0
_LOST = "%d log records before this one could not be written"


class LineHandler(logging.Handler):
    """A logging handler on a file descriptor. A line is out before `emit` returns, even if the process is then killed.

    `logging.StreamHandler` does the same through two buffers, at three times the cost.

    What a non-blocking descriptor does not take at once is written by a thread, as the reader catches up. Records over
    a backlog of 16 MiB are lost, and those that meet an error (a full disk); the next line to be written counts them.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        # Lines, of the first perhaps only the rest. Like the other fields guarded by the handler's lock.
        self._backlog: deque[bytes] = deque()
        self._backlog_bytes = 0
        self._lost = 0
        self._torn = False
        self._writer: threading.Thread | None = None
        # The parent writes them.
        os.register_at_fork(after_in_child=self._backlog.clear)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.write_line(self.format(record))
        except RecursionError:
            raise
        except Exception:  # noqa: BLE001 - as logging's own handlers do
            self.handleError(record)

    def write_line(self, text: str) -> None:
        """Write a line that needs no record; the caller holds the handler's lock (`acquire`)."""
        try:
            line = _encoded(text)
            if self._lost:
                notice = logging.LogRecord("oxherd", logging.WARNING, "", 1, _LOST, (self._lost,), None)
                line = _encoded(self.format(notice)) + line
            if not self._backlog:
                line = self._write(line)
            if line:
                self._keep(line)
            self._lost = 0
        except OSError:
            self._lost += 1

    def flush(self) -> None:
        """Wait for a reader that is behind, until it takes nothing for two seconds."""
        self.acquire()
        try:
            while self._backlog and self._wait(_FLUSH_SECONDS):
                self._write_backlog()
        finally:
            self.release()

    def _write(self, line: bytes) -> bytes:
        """Write a line; returns what the descriptor does not take now."""
        rest = b"\n" + line if self._torn else line
        whole = len(rest)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except BlockingIOError:
            pass
        except OSError:
            self._torn = self._torn or len(rest) < whole
            raise
        self._torn = False
        return rest

    def _keep(self, line: bytes) -> None:
        if not self._backlog:
            self._backlog_bytes = 0
        elif self._backlog_bytes + len(line) > _MAX_BACKLOG_BYTES:
            raise BlockingIOError
        self._backlog.append(line)
        self._backlog_bytes += len(line)
        if self._writer is None or not self._writer.is_alive():
            self._writer = threading.Thread(target=self._follow, name="oxherd-log", daemon=True)
            with suppress(RuntimeError):  # no thread to be had, as at the interpreter's exit: the next line, or flush
                self._writer.start()

    def _follow(self) -> None:
        while True:
            self._wait(None)
            self.acquire()
            try:
                self._write_backlog()
                if not self._backlog:
                    self._writer = None
                    return
            finally:
                self.release()

    def _wait(self, seconds: float | None) -> bool:
        """Wait until the descriptor takes more, or has an error; False after `seconds`."""
        ready = select.poll()
        ready.register(self._descriptor, select.POLLOUT)
        return bool(ready.poll(None if seconds is None else seconds * 1000))

    def _write_backlog(self) -> None:
        try:
            while self._backlog:
                line = self._backlog.popleft()
                rest = self._write(line)
                self._backlog_bytes -= len(line) - len(rest)
                if rest:
                    self._backlog.appendleft(rest)
                    return
        except OSError:
            self._lost += len(self._backlog) + 1
            self._backlog.clear()


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace") + b"\n"
