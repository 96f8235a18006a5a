"""A queue's event stream, as BullMQ's scripts write it."""

from __future__ import annotations

from typing import Any

from oxherd.bullmq.queue import BullQueue
from oxherd.redis.stream_reader import StreamEntry, StreamReader

_CHUNK = 1000


class EventStream:
    """Reads the stream's new entries and its older ones. Raises RedisUnavailable and ScriptError, as `Client.call`."""

    def __init__(self, queue: BullQueue) -> None:
        self._client = queue.client
        self._slot = queue.keys.slot
        self._key = queue.keys.events
        self._reader = StreamReader(queue.client, queue.keys.slot, queue.keys.events)
        self.queue = queue.keys.queue

    async def position(self) -> bytes:
        """The id of the last entry. Command: XREVRANGE."""
        last: list[Any] = await self._client.call(self._slot, "XREVRANGE", self._key, "+", "-", "COUNT", 1)
        return bytes(last[0][0]) if last else b"0-0"

    async def was_trimmed(self, after: bytes) -> bool:
        """Whether entries after an id may be gone. Command: XRANGE."""
        first: list[Any] = await self._client.call(self._slot, "XRANGE", self._key, "-", "+", "COUNT", 1)
        return not first or entry_order(first[0][0]) > entry_order(after)

    async def next(self, after: bytes, seconds: float, count: int) -> list[StreamEntry]:
        """New entries, as `StreamReader.next`. Command: XREAD."""
        return await self._reader.next(after, seconds, count)

    async def between(self, after: bytes, last: bytes) -> list[StreamEntry]:
        """The entries after an id, up to another one. Command: XRANGE."""
        found: list[StreamEntry] = []
        while True:
            reply: list[Any] = await self._client.call(
                self._slot, "XRANGE", self._key, b"(" + after, last, "COUNT", _CHUNK
            )
            found += [(entry[0], entry[1]) for entry in reply]
            if len(reply) < _CHUNK:
                return found
            after = reply[-1][0]

    async def disconnect(self) -> None:
        """Drop the connection that `next` waits on; its next use opens another."""
        await self._reader.disconnect()

    async def close(self) -> None:
        """Close it for good."""
        await self._reader.close()


def entry_order(entry_id: bytes) -> tuple[int, int]:
    """An entry's id as numbers, by which ids are ordered."""
    ms, _, number = entry_id.partition(b"-")
    return int(ms), int(number or 0)
