"""Reads a queue's event stream for all in this event loop who wait for its jobs; reads nothing while nobody does."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import Context

from oxherd.bullmq.answers import COMPLETED, FAILED, REMOVED, entry_fields
from oxherd.bullmq.event_stream import EventStream, entry_order
from oxherd.bullmq.queue import BullQueue
from oxherd.errors import RedisUnavailable, UsageError
from oxherd.redis.client import ScriptError
from oxherd.redis.retry import retry_delay
from oxherd.redis.stream_reader import StreamEntry

_COUNT = 500
_BLOCK_SECONDS = 5.0
# Others may remove a job and its stream without a word, and a short stream loses entries unnoticed: those who have
# waited longest ask again, so many at a time or a quarter of the most who ever waited, so that each does before its
# answer is gone, which is left for a minute.
_ASK_AGAIN_SECONDS = 5.0
_FEWEST_ASKED_AGAIN = 2000
# A caller that awaits one result after another keeps its connection.
_LINGER_SECONDS = 10.0
# Of one that takes them slowly; it reads the stream itself then.
_MOST_KEPT = 200
_ENDS = (COMPLETED, FAILED, REMOVED)


class Watch:
    """One waiter's view of a job.

    Attributes:
        woken: set when the job may have ended or, with `entries`, when there is news.
        in_doubt: whether the job may have ended.
        entries: the job's entries of the stream, for those who want them.
        missed: whether entries were dropped, or could not be read.
    """

    __slots__ = ("entries", "in_doubt", "missed", "woken")

    def __init__(self, *, with_entries: bool) -> None:
        self.woken = asyncio.Event()
        self.in_doubt = True
        self.entries: deque[StreamEntry] | None = deque() if with_entries else None
        self.missed = False

    def doubt(self, *, missed: bool = False) -> None:
        """Have its waiter ask; `missed` as in the attribute."""
        self.in_doubt = True
        self.missed |= missed
        self.woken.set()

    def tell(self, entry: StreamEntry) -> None:
        """Take an entry of the job."""
        ends = entry[1][1] in _ENDS
        self.in_doubt |= ends
        if self.entries is not None:
            if len(self.entries) >= _MOST_KEPT:
                self.entries.clear()
                self.missed = True
            self.entries.append(entry)
        if ends or self.entries is not None:
            self.woken.set()

    def take(self) -> list[StreamEntry]:
        """The entries since the last call."""
        entries = [] if self.entries is None else [*self.entries]
        if self.entries is not None:
            self.entries.clear()
        return entries


class EventReader:
    """The one reader of a queue's event stream, however many wait. Command: XREAD, on a connection of its own."""

    def __init__(self, queue: BullQueue) -> None:
        self.stream = EventStream(queue)
        self._watches: dict[bytes, list[Watch]] = {}
        self.position = b""  # up to where the stream was read
        self._wanted, self._ready = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._asked_again_at = 0.0
        self._ask_again = 0
        self._fault: ScriptError | None = None
        self._closed = False

    @property
    def watched(self) -> int:
        """How many jobs are watched."""
        return len(self._watches)

    @property
    def kept(self) -> int:
        """How many entries are kept for those who have not taken them yet."""
        return sum(len(watch.entries or ()) for watches in self._watches.values() for watch in watches)

    @contextmanager
    def watch(self, job_id: str, *, with_entries: bool = False) -> Generator[Watch]:
        """Watch a job; what happens to it after `ready` is not missed."""
        self._refuse_closed()
        key, watch = job_id.encode(), Watch(with_entries=with_entries)
        self._watches.setdefault(key, []).append(watch)
        self._wanted.set()
        if self._task is None or self._task.done():
            # Not in the context of the event whose handler happens to be the first to wait.
            self._task = asyncio.create_task(self._run(), name=f"oxherd-events-{self.stream.queue}", context=Context())
        try:
            yield watch
        finally:
            watches = self._watches[key]
            watches.remove(watch)
            if not watches:
                del self._watches[key]
            if not self._watches:
                self._wanted.clear()

    async def ready(self) -> None:
        """Wait until the stream is read.

        Raises:
            ScriptError: the key holds no stream.
            UsageError: the herd was closed meanwhile.
        """
        await self._ready.wait()
        self._refuse_closed()
        if self._fault is not None:
            raise ScriptError(str(self._fault))

    def _refuse_closed(self) -> None:
        if self._closed:
            raise herd_closed()

    async def close(self) -> None:
        """Read no more, and close the connection; those who still wait are told."""
        self._closed = True
        self._ready.set()
        self._wake(len(self._watches))
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self.stream.close()

    async def _run(self) -> None:
        failures = 0
        self._asked_again_at = time.monotonic()
        while await self._is_wanted():
            try:
                if not self._ready.is_set():
                    missed = await self._find_position()
                    self._fault = None
                    self._ready.set()
                    self._wake(len(self._watches), missed=missed)
                await self._read()
                failures = 0
            except (RedisUnavailable, ScriptError) as error:
                failures += 1
                # An outage is reported as one; who waits asks, and is told. Of a damaged stream those are told who wait
                # for `ready`; who comes later waits for the next try.
                if isinstance(error, ScriptError):
                    self._fault = error
                    self._ready.set()
                self._ready.clear()
                self._wake(len(self._watches))
                await asyncio.sleep(retry_delay(failures))

    async def _find_position(self) -> bool:
        """Read from now on or, after an outage, go on; returns whether entries may have been missed."""
        last = await self.stream.position()
        # A server that has lost its data, or a replica that lacks some, has not come to it.
        if self.position and entry_order(self.position) <= entry_order(last):
            return await self.stream.was_trimmed(self.position)
        missed = self.position != b""
        self.position = last
        return missed

    async def _is_wanted(self) -> bool:
        """Wait while nobody watches; False once that has lasted."""
        if self._watches:
            return True
        self._ready.clear()
        self.position, self._ask_again = b"", 0
        try:
            async with asyncio.timeout(_LINGER_SECONDS):
                await self._wanted.wait()
        except TimeoutError:
            await self.stream.disconnect()
        return bool(self._watches)

    async def _read(self) -> None:
        after = self.position
        entries = await self.stream.next(after, _BLOCK_SECONDS, _COUNT)
        for entry in entries:
            self._tell(entry)
        if entries:
            self.position = entries[-1][0]
        if len(entries) >= _COUNT and await self.stream.was_trimmed(after):
            self._wake(len(self._watches), missed=True)
        elif time.monotonic() - self._asked_again_at > _ASK_AGAIN_SECONDS:
            self._asked_again_at = time.monotonic()
            self._ask_again = max(self._ask_again, _FEWEST_ASKED_AGAIN, len(self._watches) // 4)
            self._wake(self._ask_again)

    def _tell(self, entry: StreamEntry) -> None:
        flat = entry[1]
        # As BullMQ writes them: event, its name, jobId, the id.
        regular = len(flat) > 3 and flat[2] == b"jobId"
        for watch in self._watches.get(flat[3] if regular else entry_fields(flat).get(b"jobId", b"")) or ():
            watch.tell(entry)

    def _wake(self, most: int, *, missed: bool = False) -> None:
        """Have those ask who have waited longest; they are the last then."""
        for key in list(self._watches)[:most]:
            watches = self._watches[key] = self._watches.pop(key)
            for watch in watches:
                watch.doubt(missed=missed)


def herd_closed() -> UsageError:
    """What those are told who still wait when the herd is closed."""
    return UsageError("The herd was closed while an answer was awaited; close it once nobody waits.")
