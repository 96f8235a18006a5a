"""Brings events from one queue, as many as there is room for, and waits at the marker while there are none."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from uuid import uuid4

from oxherd.errors import RedisUnavailable
from oxherd.queue.job import Job
from oxherd.queue.queue import BullQueue, Fetched, now_ms
from oxherd.redis.client import ScriptError, retry_delay
from oxherd.redis.waiter import Waiter
from oxherd.worker.faults import QueueFaults

# Without a marker an idle worker looks again after so long, as BullMQ's drainDelay; a lost marker costs at most this.
_DRAINED_SECONDS = 5.0
_DAMAGED_SECONDS = 5.0
_MOST_AT_ONCE = 64


class Fetcher:
    """The loop that begins new jobs. Jobs that follow a finished one come with its finish, not from here."""

    def __init__(
        self,
        queue: BullQueue,
        waiter: Waiter,
        faults: QueueFaults,
        *,
        room: Callable[[], int],
        begin: Callable[[Job], None],
        recover: Callable[[], object],
        doubtful: set[str],
        lock_ms: Callable[[], int],
    ) -> None:
        self._queue = queue
        self._waiter = waiter
        self._faults = faults
        self._room = room
        self._begin = begin
        self._recover = recover
        self._doubtful = doubtful
        self._lock_ms = lock_ms
        self._worker = uuid4().hex
        self._tokens = itertools.count()
        self._spare: list[str] = []
        self._delayed_until_ms = 0
        self._freed = asyncio.Event()
        self._stopping = asyncio.Event()

    def freed(self, token: str | None) -> None:
        """There is room again; the lane's token may be used for another job."""
        if token is not None and token not in self._doubtful:
            self._spare.append(token)
        self._freed.set()

    async def stop(self) -> None:
        """Begin nothing more."""
        self._stopping.set()
        self._freed.set()
        await self._waiter.unblock()

    async def run(self) -> None:
        """Fetch until stopped."""
        failures = 0
        at_once = 1
        while not self._stopping.is_set():
            room = self._room()
            if room <= 0:
                self._freed.clear()
                await self._freed.wait()
                continue
            try:
                if self._doubtful:
                    await self._recover_orphans()
                empty, at_once = await self._fetch(min(room, at_once))
                failures = 0
                self._faults.mended("fetch")
                if empty and not self._stopping.is_set():
                    await self._wait()
            except RedisUnavailable:  # reported as an outage
                failures += 1
                await self._pause(retry_delay(failures))
            except ScriptError as error:
                failures += 1
                self._faults.lasting("fetch", error)
                await self._pause(min(_DAMAGED_SECONDS, 0.1 * 2 ** min(failures, 10)))

    async def _fetch(self, count: int) -> tuple[bool, int]:
        """Fetch up to `count` jobs; whether the queue is empty, and how many to fetch the next time."""
        calls = [self._fetch_one(self._token()) for _ in range(count)]
        results = [await calls[0]] if count == 1 else await asyncio.gather(*calls, return_exceptions=True)
        empty = False
        errors: list[BaseException] = []
        for result in results:
            if isinstance(result, BaseException):
                errors.append(result)
            elif result.job is not None:
                self._begin(result.job)
            else:
                empty = True
                limited = now_ms() + result.limited_ms if result.limited_ms > 0 else 0
                self._delayed_until_ms = limited or result.delayed_until_ms
        if errors:
            raise errors[0]
        return empty, 1 if empty else min(count * 2, _MOST_AT_ONCE)

    async def _fetch_one(self, token: str) -> Fetched:
        try:
            fetched = await self._queue.fetch(token, self._lock_ms())
        except RedisUnavailable as error:
            if error.maybe_applied:
                self._doubtful.add(token)
            raise
        if fetched.job is None:
            self._spare.append(token)
        return fetched

    async def _wait(self) -> None:
        """Wait for a marker, or until the next delayed job is due."""
        while not self._stopping.is_set():
            seconds = _DRAINED_SECONDS
            if self._delayed_until_ms:
                seconds = min(seconds, (self._delayed_until_ms - now_ms()) / 1000)
                if seconds <= 0:
                    self._delayed_until_ms = 0
                    return
            score = await self._waiter.wait(seconds)
            if score is None or score <= now_ms():
                return
            # The marker of a delayed job, before its time.
            earlier = self._delayed_until_ms or score
            self._delayed_until_ms = int(min(earlier, score))

    async def _recover_orphans(self) -> None:
        result = self._recover()
        if asyncio.iscoroutine(result):
            await result

    async def _pause(self, delay: float) -> None:
        try:
            async with asyncio.timeout(delay):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _token(self) -> str:
        return self._spare.pop() if self._spare else f"{self._worker}:{next(self._tokens)}"
