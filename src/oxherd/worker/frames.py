"""What a worker and the processes of its handlers say to each other: JSON objects, each after its length.

JSON and not pickle, since reading a pickle can run what is in it.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import threading
from typing import Any

Frame = dict[str, Any]

_LENGTH = struct.Struct(">I")


def pack(frame: Frame) -> bytes:
    """A frame as it is sent."""
    body = json.dumps(frame, separators=(",", ":")).encode()
    return _LENGTH.pack(len(body)) + body


async def read(reader: asyncio.StreamReader) -> Frame | None:
    """The next frame; None once the other side has gone."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        return json.loads(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


class Channel:
    """The side without an event loop: any thread may send, one receives."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._file = connection.makefile("rb")
        # Reentrant: a finaliser that logs may run in the thread that is about to send.
        self._lock = threading.RLock()

    def send(self, frame: Frame) -> None:
        """Send a frame; blocks while the other side does not read."""
        packed = pack(frame)
        with self._lock:
            self._connection.sendall(packed)

    def receive(self) -> Frame | None:
        """The next frame; None once the other side has gone."""
        try:
            head = self._file.read(_LENGTH.size)
            if len(head) < _LENGTH.size:
                return None
            (length,) = _LENGTH.unpack(head)
            body = self._file.read(length)
        except ConnectionError:
            return None
        return json.loads(body) if len(body) == length else None

    def abandon(self) -> None:
        """Leave the connection to the process that this one was forked from.

        Not by closing the file: the thread that reads from it holds its lock, and was not forked.
        """
        nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.dup2(nowhere, self._connection.fileno(), inheritable=False)
        os.close(nowhere)
