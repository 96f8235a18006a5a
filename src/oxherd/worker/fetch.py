"""Brings events from one queue, as many as there is room for, and waits at the marker while there are none."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from uuid import uuid4

from oxherd.errors import RedisUnavailable
from oxherd.queue.answers import NOTHING, Fetched
from oxherd.queue.clock import now_ms
from oxherd.queue.job import Job
from oxherd.queue.queue import BullQueue
from oxherd.redis.client import ScriptError, retry_delay
from oxherd.redis.waiter import Waiter
from oxherd.worker.events import Events
from oxherd.worker.faults import QueueFaults
from oxherd.worker.idle import Idle
from oxherd.worker.places import Share
from oxherd.worker.suspects import Suspects

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
        share: Share,
        ordered: bool,
        begin: Callable[[Job], None],
        recover: Callable[[], Awaitable[int]],
        doubtful: set[str],
        events: Events,
        suspects: Suspects | None,
    ) -> None:
        self._queue = queue
        self._suspects = suspects
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
        self._ordered = ordered
        self._idle = Idle(queue, waiter, token=self._early_token, lock_ms=lambda: events.lock_ms, doubtful=doubtful)
        self._stopping = asyncio.Event()
        # The places that are held for calls that are under way, and since when (seconds, monotonic).
        self._reserved = 0
        self._reserved_at = 0.0
        self._asked = 0

    @property
    def asked(self) -> int:
        """How often the server has said what there is to begin: while there are places, this grows every few seconds,
        also where there is nothing."""
        return self._asked + self._idle.asked

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
        await self._idle.stop()

    async def abandon(self) -> None:
        """After a loop that did not go on has ended: end its wait; its share is kept.

        Raises:
            RedisUnavailable, ScriptError: as `Idle.end`.
        """
        self._stopping.set()
        self._arrived(await self._idle.abandon())

    async def run(self) -> None:
        """Fetch until stopped."""
        failures = 0
        at_once = 1
        while not self._stopping.is_set():
            try:
                if failures:
                    # No place is held for a server that may not answer.
                    await self._queue.ping()
                at_once = await self._next(at_once)
                failures = 0
            except RedisUnavailable:  # reported as an outage
                failures += 1
                await self._pause(retry_delay(failures))
            except ScriptError as error:
                self._asked += 1
                if await self._set_aside():
                    continue
                failures += 1
                self._faults.lasting("fetch", error)
                await self._pause(min(_DAMAGED_SECONDS, 0.1 * 2 ** min(failures, 10)))
        try:
            self._arrived(await self._idle.end())
        except RedisUnavailable:  # reported as an outage; others look by themselves within seconds
            return
        except ScriptError as error:
            self._faults.lasting("fetch", error)

    async def _set_aside(self) -> bool:
        """Whether a fetch failed on a damaged job, which is off the queue now."""
        try:
            return bool(self._doubtful) and await self._recover() > 0
        except (RedisUnavailable, ScriptError):
            return False

    def _arrived(self, found: Fetched) -> None:
        """Begin what a wait has brought."""
        if found.job is not None:
            self._share.force()
            self._begin(found.job)

    async def _pass_on(self, found: Fetched) -> None:
        """Begin what a wait has brought all the same, or leave it to others where there is still no place for it."""
        job = found.job
        if job is None or not self._share.full:
            self._arrived(found)
            return
        try:
            await self._queue.requeue(job.raw_id, job.token)
        except (RedisUnavailable, ScriptError):
            self._doubtful.add(job.token)  # looked for before the next fetch
            raise
        self._spare.append(job.token)

    def _early_token(self) -> str | None:
        """The token of a fetch that goes along with the wait: none where places are shared, or an order kept."""
        return self._token() if self._share.only and not self._ordered else None

    async def _next(self, at_once: int) -> int:
        """Fetch once, and wait where there was nothing; how many to fetch the next time."""
        if self._doubtful:
            await self._recover()
        if self._idle.waits and self._share.full:
            # What the wait's own fetch brings would wait here, while another worker may be free.
            await self._pass_on(await self._idle.recall())
        places = await self._share.take(at_once)
        if not places:
            return at_once
        empty, at_once = await self._fetch(places)
        self._asked += 1
        self._faults.mended("fetch")
        if empty and not self._stopping.is_set():
            due, self._delayed_until_ms = self._delayed_until_ms, 0
            self._arrived(await self._idle.wait(due) or NOTHING)
        return at_once

    async def _fetch(self, count: int) -> tuple[bool, int]:
        """Fetch up to `count` jobs; whether the queue is empty, and how many to fetch the next time."""
        self._reserved, self._reserved_at = count, time.monotonic()
        jobs: list[Job] = []
        errors: list[BaseException] = []
        empty = False
        tokens = [self._token() for _ in range(count)]
        try:
            if self._suspects is not None:
                await self._suspects.wait_for_calm()
            calls = [self._fetch_one(token) for token in tokens]
            # One alone needs no task, and is what a new event waits for.
            results = [await _caught(calls[0])] if count == 1 else await asyncio.gather(*calls, return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    errors.append(result)
                elif result.job is not None:
                    jobs.append(result.job)
                else:
                    empty = True
                    limited = now_ms() + result.limited_ms if result.limited_ms > 0 else 0
                    self._delayed_until_ms = limited or result.delayed_until_ms
        except BaseException:
            # Cancelled: also of those calls that were answered, nobody begins the jobs.
            self._doubtful.update(tokens)
            raise
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
            call = self._queue.fetch_and_teach if self._idle.unknown else self._call
            fetched = await call(token, self._events.lock_ms)
            self._idle.unknown = False
        except RedisUnavailable as error:
            if error.maybe_applied:
                self._doubtful.add(token)
            raise
        except BaseException:  # cancelled, an error of ours, or a script that has begun a job and failed on its hash
            self._doubtful.add(token)
            raise
        if fetched.job is None:
            self._spare.append(token)
        return fetched

    async def _pause(self, delay: float) -> None:
        try:
            async with asyncio.timeout(delay):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _token(self) -> str:
        return self._spare.pop() if self._spare else f"{self._worker}:{next(self._tokens)}"


async def _caught(call: Awaitable[Fetched]) -> Fetched | BaseException:
    try:
        return await call
    except (RedisUnavailable, ScriptError) as error:
        return error
