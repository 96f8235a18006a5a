"""Fetches events from one queue, as many as there are slots for, and waits at the marker while there are none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from oxherd.bullmq.clock import now_ms
from oxherd.bullmq.job import Job
from oxherd.bullmq.replies import Fetched
from oxherd.errors import RedisUnavailable
from oxherd.redis.client import ScriptError
from oxherd.redis.retry import retry_delay
from oxherd.worker.fetching.lock_tokens import LockTokens
from oxherd.worker.fetching.marker_wait import DRAINED_SECONDS, MarkerWait
from oxherd.worker.fetching.slots import QueueSlots
from oxherd.worker.fetching.unresolved_calls import UnresolvedCalls
from oxherd.worker.served_queue import ServedQueue

_DAMAGED_SECONDS = 5.0
_MOST_AT_ONCE = 64


class Fetcher:
    """The loop that begins new jobs. Jobs that follow a finished one come with its finish, not from here."""

    def __init__(
        self,
        served: ServedQueue,
        wait: MarkerWait,
        share: QueueSlots,
        tokens: LockTokens,
        unresolved: UnresolvedCalls,
        begin: Callable[[Job], None],
    ) -> None:
        self._served = served
        self._queue = served.queue
        self._wait = wait
        self._share = share
        self._unresolved = unresolved
        self._begin = begin
        self._call = served.queue.fetch_in_order if served.ordered else served.queue.fetch
        self._most_at_once = 1 if served.ordered else _MOST_AT_ONCE
        self._tokens = tokens
        self._stopping = asyncio.Event()
        # Slots held for calls that are under way, and since when (seconds, monotonic).
        self._reserved = 0
        self._reserved_at = 0.0
        # How often the server has said what there is to begin: while there are slots, this grows every few seconds,
        # also where there is nothing.
        self.replies_seen = 0

    def lend(self, older: float) -> None:
        """Let other queues have the slots of calls that got no answer for `older` seconds."""
        if self._reserved and time.monotonic() - self._reserved_at > older:
            count, self._reserved = self._reserved, 0
            self._share.give(count)

    async def stop(self) -> None:
        """Begin nothing more, and leave the marker to others."""
        self._stopping.set()
        self._share.close()
        await self._wait.stop()

    async def run(self) -> None:
        """Fetch until stopped."""
        failures = 0
        at_once = 1
        while not self._stopping.is_set():
            try:
                if failures:
                    # No slot is held for a server that may not answer.
                    await self._queue.ping()
                at_once = await self._next(at_once)
                failures = 0
            except RedisUnavailable:  # reported as an outage
                failures += 1
                await self._pause(retry_delay(failures))
            except ScriptError as error:
                self.replies_seen += 1
                if await self._set_aside():
                    continue
                failures += 1
                self._served.faults.lasting("fetch", error)
                await self._pause(min(_DAMAGED_SECONDS, 0.1 * 2 ** min(failures, 10)))

    async def _set_aside(self) -> bool:
        """Whether a fetch failed on a damaged job, which is off the queue now."""
        try:
            return await self._unresolved.resolve() > 0
        except (RedisUnavailable, ScriptError):
            return False

    async def _next(self, at_once: int) -> int:
        """Fetch once, and wait where there is nothing; returns how many to fetch the next time."""
        if self._unresolved:
            await self._unresolved.resolve()
        slots = await self._share.take(at_once)
        if not slots:
            return at_once
        nothing = await self._fetch(slots)
        self.replies_seen += 1
        self._served.faults.mended("fetch")
        if nothing is None:
            return min(slots * 2, self._most_at_once)
        if nothing.limited_ms > 0:
            # Markers are left to others: there may be any number while the limit lasts.
            await self._pause(min(nothing.limited_ms / 1000, DRAINED_SECONDS))
        else:
            await self._until_due(nothing.delayed_until_ms)
        return 1

    async def _fetch(self, count: int) -> Fetched | None:
        """Fetch up to `count` jobs and begin them; returns the answer that there are no more, if one was."""
        self._reserved, self._reserved_at = count, time.monotonic()
        jobs: list[Job] = []
        errors: list[BaseException] = []
        nothing: Fetched | None = None
        tokens = [self._tokens.take() for _ in range(count)]
        try:
            calls = [self._fetch_one(token) for token in tokens]
            # One alone needs no task, and is what a new event waits for.
            results = [await _caught(calls[0])] if count == 1 else await asyncio.gather(*calls, return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    errors.append(result)
                elif result.job is not None:
                    jobs.append(result.job)
                else:
                    nothing = result
        except BaseException:
            # Cancelled: also of those calls that were answered, nobody begins the jobs.
            for token in tokens:
                self._unresolved.add(token)
            raise
        finally:
            reserved, self._reserved = self._reserved, 0
            if reserved:
                self._share.give(reserved - len(jobs))
            else:
                self._share.acquire_over_limit(len(jobs))
        for job in jobs:
            self._begin(job)
        if errors:
            raise errors[0]
        return nothing

    async def _fetch_one(self, token: str) -> Fetched:
        try:
            fetched = await self._call(token, self._served.events.lock_ms)
        except RedisUnavailable as error:
            if error.maybe_applied:
                self._unresolved.add(token)
            raise
        except BaseException:  # cancelled, an error of ours, or a script that has begun a job and failed on its hash
            self._unresolved.add(token)
            raise
        if fetched.job is None:
            self._tokens.give_back(token)
        return fetched

    async def _until_due(self, due_ms: int) -> None:
        """Wait until there is something to fetch; a fetch that goes along with the wait may bring it."""
        while not self._stopping.is_set() and not self._unresolved and (not due_ms or due_ms > now_ms()):
            # Shared slots may be needed elsewhere, and one kept in order looks at more than the queue.
            if self._share.only and not self._served.ordered:
                if not await self._share.take(1):
                    return
                due_ms = await self._wait_and_fetch(due_ms)
            else:
                woken = await self._wait.wait(due_ms, None, 0)
                # Without a marker, or with that of a job that waits: look now.
                due_ms = min(due_ms or woken.marker_ms, woken.marker_ms) if woken.marker_ms else now_ms()
                if self._stopping.is_set() and woken.marker_ms is not None:
                    await self._queue.wake()

    async def _wait_and_fetch(self, due_ms: int) -> int:
        """Wait with a fetch behind it and begin its job; returns when the next is due (0: nothing is known of one)."""
        token = self._tokens.take()
        job = None
        try:
            woken = await self._wait.wait(due_ms, token, self._served.events.lock_ms)
            if woken.fetched is not None:
                job = woken.fetched.job
        except BaseException:
            self._unresolved.add(token)
            raise
        finally:
            if job is None:
                self._share.give()
        if woken.fetched is None:
            self._unresolved.add(token)
            if self._stopping.is_set():
                await self._queue.wake()  # the marker may have been taken
            return now_ms()
        self.replies_seen += 1
        if job is not None:
            self._begin(job)
            return now_ms()
        self._tokens.give_back(token)
        if woken.fetched.limited_ms > 0:
            return now_ms()  # asked again, it says so in the other loop
        return woken.fetched.delayed_until_ms

    async def _pause(self, delay: float) -> None:
        try:
            async with asyncio.timeout(delay):
                await self._stopping.wait()
        except TimeoutError:
            return


async def _caught(call: Awaitable[Fetched]) -> Fetched | BaseException:
    try:
        return await call
    except (RedisUnavailable, ScriptError) as error:
        return error
