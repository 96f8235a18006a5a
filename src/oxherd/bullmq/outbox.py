"""A queue's outbox: messages for other queues, written in the steps that end jobs, until a relay has sent them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import msgpack

from oxherd.bullmq.keys import QueueKeys
from oxherd.bullmq.pack import pack
from oxherd.redis.client import Client

_ID_BYTES = 36
_EMIT = "emit"


@dataclass(frozen=True)
class Message:
    """An event to be emitted: its UUID as text, the target's name, its payload as JSON, its telemetry metadata."""

    id: str
    target: str
    data: bytes
    metadata: str

    @cached_property
    def packed(self) -> bytes:
        """As the scripts take it: the id, then the rest as MessagePack."""
        return self.id.encode() + pack([_EMIT, self.target, self.data, self.metadata])


@dataclass(frozen=True, slots=True)
class Entry:
    """A message in the outbox; `written_ms` is its server's time. `message` is None if it cannot be read here."""

    id: str
    written_ms: int
    message: Message | None


class Outbox:
    """Reads and empties one queue's outbox. Key: `outbox`, a hash of messages by their ids."""

    def __init__(self, client: Client, keys: QueueKeys) -> None:
        self._client = client
        self._slot = keys.slot
        self._key = keys.outbox

    async def scan(self, cursor: int, count: int) -> tuple[int, list[Entry]]:
        """About `count` of the messages, and the cursor of the next ones; 0 is the first and the last. Command: HSCAN.

        Raises:
            RedisUnavailable, ScriptError: as `Client.call`.
        """
        following, flat = await self._client.call(self._slot, "HSCAN", self._key, cursor, "COUNT", count)
        return int(following), [_entry(*each) for each in zip(flat[::2], flat[1::2], strict=True)]

    async def read(self, ids: list[str]) -> list[Message]:
        """Those of some messages that have not been sent. Command: HMGET. Raises as `scan`."""
        values = await self._client.call(self._slot, "HMGET", self._key, *ids)
        found = [_entry(each.encode(), value) for each, value in zip(ids, values, strict=True) if value is not None]
        return [entry.message for entry in found if entry.message is not None]

    async def remove(self, ids: Iterable[str]) -> None:
        """Remove messages that have been sent. Command: HDEL. Raises as `scan`."""
        await self._client.call(self._slot, "HDEL", self._key, *ids)


def _entry(field: bytes, value: bytes) -> Entry:
    """Decode an entry, which any program may have written; never raises."""
    written, _, packed = value.partition(b" ")
    message_id = field.decode("utf-8", "backslashreplace")
    written_ms = int(written) if written.isdigit() and len(written) < 16 else 0
    try:
        kind, target, data, metadata = cast("Any", msgpack).unpackb(packed)
    except (ValueError, TypeError, cast("Any", msgpack).UnpackException):
        return Entry(message_id, written_ms, None)
    texts = (kind, target, metadata)
    if kind != _EMIT or not all(isinstance(each, str) for each in texts) or not isinstance(data, bytes):
        return Entry(message_id, written_ms, None)
    if len(field) != _ID_BYTES:
        return Entry(message_id, written_ms, None)
    return Entry(message_id, written_ms, Message(message_id, target, data, metadata))
