"""What a worker and its handlers' processes say to each other: JSON objects, each after a mark and its length.

JSON and not pickle, which can run code. The mark tells a message from what a handler writes to a wrong descriptor:
without it such bytes would count as a length, and the worker would wait for a message that never ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import threading
from types import NoneType
from typing import Any, cast

from oxherd.retries import LONGEST_MS, Decision, Verdict

Message = dict[str, Any]

_MARK = b"oxh\n"
_HEAD = struct.Struct(">4sI")
# What a handler's process may send: each kind, with its fields and their types.
_FROM_CHILD: dict[str, dict[str, type | tuple[type, ...]]] = {
    "ready": {},
    "refused": {"message": str},
    "returned": {"result": str, "dropped": (str, NoneType)},
    "raised": {
        "type": str,
        "message": str,
        "stack": list,
        "cancelled": bool,
        "decision": str,
        "delay_ms": (int, NoneType),
        "fault": (str, NoneType),
    },
    "memory": {"resident": int},
    "progress": {"id": str, "fence": int, "value": object},
    "log": {"record": dict, "process": int, "extra": dict},
}


class ProtocolError(ValueError):
    """A handler's process has sent something else than a message."""


def pack(message: Message) -> bytes:
    """A message as it is sent."""
    body = json.dumps(message, separators=(",", ":")).encode()
    return _HEAD.pack(_MARK, len(body)) + body


async def read(reader: asyncio.StreamReader) -> Message | None:
    """Read the next message from a handler's process; None once that has gone.

    Raises:
        ProtocolError: what it sent is not a message.
    """
    try:
        mark, length = _HEAD.unpack(await reader.readexactly(_HEAD.size))
        if mark != _MARK:
            raise ProtocolError
        body = await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    try:
        return _checked(json.loads(body))
    except (ValueError, RecursionError):
        raise ProtocolError from None


def _checked(found: Any) -> Message:
    message: Message = cast("Message", found) if isinstance(found, dict) else {}
    kind = message.get("kind")
    fields = _FROM_CHILD.get(kind) if isinstance(kind, str) else None
    if fields is None or not all(isinstance(message.get(name), types) for name, types in fields.items()):
        raise ProtocolError
    if kind == "raised":
        verdict_of(message)
    return message


def verdict_of(message: Message) -> Verdict:
    """What the error in a message means for another attempt; raises ProtocolError if it says nothing that there is."""
    decision, delay_ms, fault = message["decision"], message["delay_ms"], message["fault"]
    needs_delay = decision in (Decision.RETRY_IN, Decision.SNOOZE, Decision.RATE_LIMITED)
    if needs_delay if delay_ms is None else isinstance(delay_ms, bool) or not 0 <= delay_ms <= LONGEST_MS:
        raise ProtocolError
    try:
        return Verdict(Decision(decision), delay_ms, fault and fault.encode("utf-8", "replace").decode())
    except ValueError:
        raise ProtocolError from None


class Channel:
    """The process's end of the connection: any thread may send, one receives."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._file = connection.makefile("rb")
        # Reentrant: a finaliser that logs may run in a thread that is sending.
        self._lock = threading.RLock()

    def send(self, message: Message) -> None:
        """Send a message; blocks while the worker does not read."""
        packed = pack(message)
        with self._lock:
            self._connection.sendall(packed)

    def receive(self) -> Message | None:
        """The worker's next message; None once it has gone."""
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
        """In a fork of this process: leave the connection to the original.

        Not by closing the file: its lock belongs to the reading thread, which was not forked.
        """
        nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.dup2(nowhere, self._connection.fileno(), inheritable=False)
        os.close(nowhere)
