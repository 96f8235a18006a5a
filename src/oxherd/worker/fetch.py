"""Brings events from one queue, as many as there is room for, and waits at the marker while there are none."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from uuid import uuid4

from oxherd.errors import RedisUnavailable
from oxherd.queue.answers import Fetched
from oxherd.queue.clock import now_ms
from oxherd.queue.job import Job
from oxherd.queue.queue import BullQueue
from oxherd.redis.client import ScriptError, retry_delay
from oxherd.redis.waiter import Waiter
from oxherd.worker.events import Events
from oxherd.worker.faults import QueueFaults
from oxherd.worker.places import Share

# Without a marker an idle worker looks again after so long, as BullMQ's drainDelay; a lost marker costs at most this.
_DRAINED_SECONDS = 5.0
_DAMAGED_SECONDS = 5.0
_UNBLOCK_SECONDS = 0.5
_UNBLOCK_AGAIN_SECONDS = 0.02
_MOST_AT_ONCE = 64


class Fetcher:
    """The loop that begins new jobs. Jobs that follow a finished one come with its finish, not from here."""

    def __init__(
        self,
        queue: BullQueue,
        waiter: Waiter,
        faults: QueueFaults,
        *,
        share: Share,
        ordered: bool,
        begin: Callable[[Job], None],
        recover: Callable[[], Awaitable[None]],
        doubtful: set[str],
        events: Events,
    ) -> None:
        self._queue = queue
        self._waiter = waiter
        self._faults = faults
        self._share = share
        self._call = queue.fetch_in_order if ordered else queue.fetch
        self._most_at_once = 1 if ordered else _MOST_AT_ONCE
        self._begin = begin
        self._recover = recover
        self._doubtful = doubtful
        self._events = events
        self._worker = uuid4().hex
        self._tokens = itertools.count()
        self._spare: list[str] = []
        self._delayed_until_ms = 0
        self._waiting: asyncio.Task[float | None] | None = None
        self._ended_wait: asyncio.Task[float | None] | None = None
        self._stopping = asyncio.Event()
        # The places that are held for calls that are under way, and since when (seconds, monotonic).
        self._reserved = 0
        self._reserved_at = 0.0

    def freed(self, token: str) -> None:
        """The token may be used for another job."""
        if token not in self._doubtful:
            self._spare.append(token)

    def lend(self, older: float) -> None:
        """Let other queues have the places of calls that got no answer for `older` seconds."""
        if self._reserved and time.monotonic() - self._reserved_at > older:
            count, self._reserved = self._reserved, 0
            self._share.give(count)

    async def stop(self) -> None:
        """Begin nothing more, and leave the marker to others."""
        self._stopping.set()
        self._share.close()
        waiting = self._waiting
        deadline = time.monotonic() + _UNBLOCK_SECONDS
        # The server may hear of the end of a wait before it hears of the wait: say it until it is true.
        while waiting is not None and not waiting.done() and time.monotonic() < deadline:
            await self._waiter.unblock()
            await asyncio.wait([waiting], timeout=_UNBLOCK_AGAIN_SECONDS)
        if waiting is not None and not waiting.done():
            waiting.cancel()

    async def run(self) -> None:
        """Fetch until stopped."""
        failures = 0
        at_once = 1
        while not self._stopping.is_set():
            try:
                if failures:
                    # No place is held for a server that may not answer.
                    await self._queue.ping()
                if self._doubtful:
                    await self._recover()
                places = await self._share.take(at_once)
                if not places:
                    break
                empty, at_once = await self._fetch(places)
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
        await self._end_wait()

    async def _fetch(self, count: int) -> tuple[bool, int]:
        """Fetch up to `count` jobs; whether the queue is empty, and how many to fetch the next time."""
        self._reserved, self._reserved_at = count, time.monotonic()
        jobs: list[Job] = []
        errors: list[BaseException] = []
        empty = False
        try:
            calls = [self._fetch_one(self._token()) for _ in range(count)]
            results = await asyncio.gather(*calls, return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    errors.append(result)
                elif result.job is not None:
                    jobs.append(result.job)
                else:
                    empty = True
                    limited = now_ms() + result.limited_ms if result.limited_ms > 0 else 0
                    self._delayed_until_ms = limited or result.delayed_until_ms
        finally:
            reserved, self._reserved = self._reserved, 0
            if reserved:
                self._share.give(reserved - len(jobs))
            else:
                self._share.force(len(jobs))
        for job in jobs:
            self._begin(job)
        if errors:
            raise errors[0]
        return empty, 1 if empty else min(count * 2, self._most_at_once)

    async def _fetch_one(self, token: str) -> Fetched:
        try:
            fetched = await self._call(token, self._events.lock_ms)
        except RedisUnavailable as error:
            if error.maybe_applied:
                self._doubtful.add(token)
            raise
        if fetched.job is None:
            self._spare.append(token)
        return fetched

    async def _wait(self) -> None:
        """Wait for a marker, or until the next delayed job is due.

        The server ends a blocking command up to 100 ms late; our own clock does not, so a wait that is going on is
        left to go on while we fetch what has come due.
        """
        while not self._stopping.is_set():
            if self._waiting is None:
                self._waiting = asyncio.create_task(self._waiter.wait(_DRAINED_SECONDS), name="oxherd-marker")
            due = max(0.0, (self._delayed_until_ms - now_ms()) / 1000) if self._delayed_until_ms else None
            await asyncio.wait([self._waiting], timeout=due)
            if not self._waiting.done():
                self._delayed_until_ms = 0
                return
            waited, self._waiting = self._waiting, None
            if self._stopping.is_set():
                self._ended_wait = waited
                return
            score = waited.result()
            if score is None or score <= now_ms():
                return
            # The marker of a delayed job, before its time.
            self._delayed_until_ms = int(min(self._delayed_until_ms or score, score))

    async def _end_wait(self) -> None:
        """Leave the marker to others; one that was taken at the last moment is put back."""
        waiting = self._waiting or self._ended_wait
        if waiting is None:
            return
        if not waiting.done():
            waiting.cancel()
            await asyncio.wait([waiting])
        try:
            if waiting.cancelled() or waiting.result() is not None:
                await self._queue.wake()
        except RedisUnavailable:  # reported as an outage; others look by themselves within seconds
            return
        except ScriptError as error:
            self._faults.lasting("fetch", error)

    async def _pause(self, delay: float) -> None:
        try:
            async with asyncio.timeout(delay):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _token(self) -> str:
        return self._spare.pop() if self._spare else f"{self._worker}:{next(self._tokens)}"
