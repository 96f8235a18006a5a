"""Follows the event streams of several queues: begins and ends as they come."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from oxherd.bullmq.answers import entry_fields, job_end
from oxherd.bullmq.event_stream import EventStream
from oxherd.bullmq.queue import BullQueue
from oxherd.redis.client import ScriptError
from oxherd.redis.stream_reader import StreamEntry

_MOST_READ = 500
# Jobs that were seen to begin, whose ends are awaited.
_MOST_RUNNING = 10_000


@dataclass(frozen=True, slots=True)
class Happening:
    """That a job began, was put back (`retrying`) or ended.

    Attributes:
        at_ms: when, by the server's clock.
        name: the job's name; "" where that is not known.
        outcome: of an end, in the log's words, as far as the stream tells.
        ms: how long it ran; None of one whose begin was not seen.
    """

    queue: BullQueue
    at_ms: int
    what: str
    job_id: str
    name: str
    outcome: str
    ms: int | None


class StreamTail:
    """Reads what is new in a queue's event stream, from its first call on. Raises as `Client.call`."""

    def __init__(self, queue: BullQueue, *, with_names: bool) -> None:
        self.queue = queue
        self._stream = EventStream(queue)
        self._with_names = with_names
        self._position: bytes | None = None
        self._began: OrderedDict[str, tuple[int, str]] = OrderedDict()

    async def read(self) -> tuple[list[Happening], bool]:
        """What has happened since the last call, at most 500 entries, and whether there is more.

        Commands: XREVRANGE once, XRANGE; HGET for a job that began, where its name is wanted.
        """
        if self._position is None:
            self._position = await self._stream.position()
            return [], False
        k = self.queue.keys
        entries: list[StreamEntry] = await self.queue.client.call(
            k.slot, "XRANGE", k.events, b"(" + self._position, "+", "COUNT", _MOST_READ
        )
        if entries:
            self._position = entries[-1][0]
        found = [await self._happening(*entry) for entry in entries]
        return [each for each in found if each is not None], len(entries) == _MOST_READ

    async def _happening(self, position: bytes, flat: list[bytes]) -> Happening | None:
        fields = entry_fields(flat)
        raw_id, event = fields.get(b"jobId"), fields.get(b"event")
        if raw_id is None:
            return None
        at_ms = int(position.partition(b"-")[0])
        job_id = raw_id.decode("utf-8", "backslashreplace")
        if event == b"active":
            name = await self._name(raw_id) if self._with_names else ""
            self._began[job_id] = (at_ms, name)
            self._began.move_to_end(job_id)
            if len(self._began) > _MOST_RUNNING:
                self._began.popitem(last=False)
            return Happening(self.queue, at_ms, "began", job_id, name, "", None)
        end = job_end(fields)
        put_back = event == b"delayed" or (event == b"waiting" and fields.get(b"prev") == b"active")
        if end is None and not (put_back and job_id in self._began):
            return None
        began_ms, name = self._began.pop(job_id, (None, ""))
        ms = None if began_ms is None else max(0, at_ms - began_ms)
        if end is None:
            return Happening(self.queue, at_ms, "retrying", job_id, name, "", ms)
        outcome = end.outcome or ("completed" if end.completed else "failed")
        return Happening(self.queue, at_ms, "ended", job_id, name, outcome, ms)

    async def _name(self, job_id: bytes) -> str:
        k = self.queue.keys
        try:
            name: bytes | None = await self.queue.client.call(k.slot, "HGET", k.base.encode() + job_id, "name")
        except ScriptError:  # the key is no job
            return ""
        return (name or b"").decode("utf-8", "backslashreplace")


async def read_all(tails: Sequence[StreamTail]) -> tuple[list[Happening], bool]:
    """What has happened in several queues since the last call, in its order, and whether there is more."""
    read = await asyncio.gather(*(tail.read() for tail in tails))
    happenings = [each for found, _ in read for each in found]
    return sorted(happenings, key=lambda each: each.at_ms), any(more for _, more in read)
