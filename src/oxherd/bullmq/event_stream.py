"""A queue's event stream, as BullMQ's scripts write it."""

from __future__ import annotations

import re
from typing import Any

from oxherd.bullmq.queue import BullQueue
from oxherd.redis.stream_reader import StreamEntry, StreamReader

_ENTRY_ID = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")
_MOST = 2**64 - 1
_BEGIN = b"0-0"


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
        return bytes(last[0][0]) if last else _BEGIN

    async def was_trimmed(self, after: bytes) -> bool:
        """Whether entries after an id may be gone. Command: XRANGE."""
        first: list[Any] = await self._client.call(self._slot, "XRANGE", self._key, "-", "+", "COUNT", 1)
        return not first or entry_order(first[0][0]) > entry_order(after)

    async def next(self, after: bytes, seconds: float, count: int) -> list[StreamEntry]:
        """New entries, as `StreamReader.next`. Command: XREAD."""
        return await self._reader.next(after, seconds, count)

    async def since(self, after: bytes, most: int) -> list[StreamEntry] | None:
        """The entries after an id; None if some may be gone, if they are more than `most`, or if it never came to it.

        After 0-0 they are those that are left.

        Commands: XRANGE, XREVRANGE.
        """
        reply: list[Any] = await self._client.call(
            self._slot, "XRANGE", self._key, b"(" + after, "+", "COUNT", most + 1
        )
        # Looked for afterwards: it may be trimmed meanwhile.
        if len(reply) > most or (after != _BEGIN and await self.was_trimmed(after)):
            return None
        if not reply and entry_order(await self.position()) < entry_order(after):
            return None
        return [(entry[0], entry[1]) for entry in reply]

    async def disconnect(self) -> None:
        """Drop the connection that `next` waits on; its next use opens another."""
        await self._reader.disconnect()

    async def close(self) -> None:
        """Close it for good."""
        await self._reader.close()


def is_entry_id(text: str) -> bool:
    """Whether a text is an entry's id, as Redis writes it; the largest, which nothing follows, is taken for none."""
    found = _ENTRY_ID.fullmatch(text)
    return found is not None and all(int(number) < _MOST for number in found.groups())


def entry_order(entry_id: bytes) -> tuple[int, int]:
    """An entry's id as numbers, by which ids are ordered."""
    ms, _, number = entry_id.partition(b"-")
    return int(ms), int(number or 0)
