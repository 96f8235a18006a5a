"""What a worker and the processes of its handlers say to each other: JSON objects, each after a mark and its length.

JSON and not pickle, since reading a pickle can run what is in it. The mark tells a frame from what a handler writes to
a wrong descriptor: without it such bytes would be a length, and the worker would wait for a frame that never ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import threading
from typing import Any, cast

Frame = dict[str, Any]

_MARK = b"oxh\n"
_HEAD = struct.Struct(">4sI")
# What the process of a handler may say: the kind, and the type of each part.
_SAID: dict[str, dict[str, type | tuple[type, ...]]] = {
    "ready": {},
    "refused": {"message": str},
    "returned": {"result": str},
    "raised": {"type": str, "message": str, "frames": list, "discard": bool, "cancelled": bool},
    "progress": {"id": str, "fence": int, "value": object},
    "log": {"record": dict, "process": int, "extra": dict},
}


class NoFrame(ValueError):
    """What was received is no frame."""


def pack(frame: Frame) -> bytes:
    """A frame as it is sent."""
    body = json.dumps(frame, separators=(",", ":")).encode()
    return _HEAD.pack(_MARK, len(body)) + body


async def read(reader: asyncio.StreamReader) -> Frame | None:
    """The next frame that the process of a handler has sent; None once it has gone.

    Raises:
        NoFrame: it has sent something else.
    """
    try:
        mark, length = _HEAD.unpack(await reader.readexactly(_HEAD.size))
        if mark != _MARK:
            raise NoFrame
        body = await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    try:
        return _checked(json.loads(body))
    except (ValueError, RecursionError):
        raise NoFrame from None


def _checked(found: Any) -> Frame:
    frame: Frame = cast("Frame", found) if isinstance(found, dict) else {}
    kind = frame.get("kind")
    parts = _SAID.get(kind) if isinstance(kind, str) else None
    if parts is None or not all(isinstance(frame.get(name), types) for name, types in parts.items()):
        raise NoFrame
    return frame


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
            head = self._file.read(_HEAD.size)
            if len(head) < _HEAD.size:
                return None
            _, length = _HEAD.unpack(head)
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
