"""Binds a worker to its supervisor: it ends with the supervisor and answers its requests over a socket pair."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from dataclasses import asdict
from typing import Any

from oxherd.telemetry.http.health_source import ProcessSource
from oxherd.worker.executors.parent_death import end_with_parent

HEALTH, METRICS = b"health", b"metrics"
_SUPERVISOR_PID = "OXHERD_SUPERVISOR"
_CHANNEL_FD = "OXHERD_SUPERVISOR_CHANNEL"
_CHUNK_BYTES = 65536


def supervised_environment(descriptor: int | None) -> dict[str, str]:
    """The environment of a worker of this process; `descriptor` is the worker's end of its channel."""
    channel = {} if descriptor is None else {_CHANNEL_FD: str(descriptor)}
    return os.environ | {_SUPERVISOR_PID: str(os.getpid())} | channel


def follow_supervisor() -> socket.socket | None:
    """In a supervised worker: drain and end when the supervisor ends. Returns its end of the channel, if any."""
    # Removed from the environment: a process that a handler starts is not supervised.
    supervisor = os.environ.pop(_SUPERVISOR_PID, None)
    descriptor = os.environ.pop(_CHANNEL_FD, None)
    if supervisor is not None:
        end_with_parent(int(supervisor), signal.SIGTERM)
    if supervisor is None or descriptor is None:
        return None
    connection = socket.socket(fileno=int(descriptor))
    connection.set_inheritable(False)
    return connection


def serve_supervisor(connection: socket.socket, source: ProcessSource) -> None:
    """Answer the supervisor's requests from now on, in a daemon thread."""
    threading.Thread(target=_serve, args=(connection, source), name="oxherd-supervised", daemon=True).start()


def _serve(connection: socket.socket, source: ProcessSource) -> None:
    with connection, connection.makefile("rb") as requests:
        for request in requests:
            if request.rstrip() == HEALTH:
                reply: Any = source.health()
            else:
                snapshot = source.snapshot()
                reply = None if snapshot is None else asdict(snapshot)
            try:
                connection.sendall(json.dumps(reply).encode() + b"\n")
            except OSError:  # the supervisor has ended, and so will this worker
                return


class SupervisorChannel:
    """The supervisor's end of a socket pair; `worker_end` is passed to the worker and closed here. Thread-safe."""

    def __init__(self) -> None:
        self._connection, self.worker_end = socket.socketpair()
        self._lock = threading.Lock()
        self._buffer = b""
        self._reply_pending = False
        self.answered = False
        self._silent_since: float | None = None

    def request(self, request: bytes, timeout: float) -> Any:
        """The worker's reply, or None if it does not come within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        if not self._lock.acquire(timeout=timeout):
            return None
        try:
            # A reply that came too late for an earlier request is read first: a worker has one request at a time.
            line = self._read_line(deadline) if self._reply_pending else b""
            if line is not None:
                self._connection.settimeout(max(0.001, deadline - time.monotonic()))
                self._connection.sendall(request + b"\n")
                self._reply_pending = True
                line = self._read_line(deadline)
        except OSError:
            line = None
        finally:
            self._lock.release()
        if line is None:
            self._silent_since = self._silent_since or time.monotonic()
            return None
        self.answered, self._silent_since = True, None
        return json.loads(line)

    @property
    def silent_seconds(self) -> float:
        """The seconds since the first request that the worker has not answered."""
        since = self._silent_since
        return 0.0 if since is None else time.monotonic() - since

    def close(self) -> None:
        """Close the connection; the worker has ended."""
        self._connection.close()

    def _read_line(self, deadline: float) -> bytes | None:
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._connection.settimeout(left)
            chunk = self._connection.recv(_CHUNK_BYTES)
            if not chunk:
                return None
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        self._reply_pending = False
        return line
