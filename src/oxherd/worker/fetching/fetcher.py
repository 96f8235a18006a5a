"""The fetch loop of one queue: begins as many jobs as there are slots, and waits at the marker while there are none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from oxherd.bullmq.clock import now_ms
from oxherd.bullmq.job import Job
from oxherd.bullmq.replies import Fetched
from oxherd.errors import RedisUnavailable
from oxherd.redis.client import ScriptError
from oxherd.redis.retry import retry_delay
from oxherd.worker.background_loop import BackgroundLoop
from oxherd.worker.fetching.lock_tokens import LockTokens
from oxherd.worker.fetching.marker_wait import MarkerWait
from oxherd.worker.fetching.slots import QueueSlots
from oxherd.worker.fetching.unresolved_calls import UnresolvedCalls
from oxherd.worker.served_queue import ServedQueue

_DAMAGED_SECONDS = 5.0
_LIMITED_SECONDS = 0.5
_MOST_AT_ONCE = 64
_RESTART_SECONDS = 0.5


class Fetcher(BackgroundLoop):
    """The loop that begins new jobs; a job that comes with another's finish does not pass here.

    Attributes:
        replies_seen: how often the server has answered a fetch. It grows every few seconds while there are slots.
    """

    def __init__(
        self,
        served: ServedQueue,
        slots: QueueSlots,
        tokens: LockTokens,
        unresolved: UnresolvedCalls,
        begin: Callable[[Job], None],
    ) -> None:
        super().__init__(f"oxherd-fetch-{served.queue.keys.queue}")
        self._served = served
        self._queue = served.queue
        self._slots = slots
        self._tokens = tokens
        self._unresolved = unresolved
        self._begin = begin
        self._call = served.queue.fetch_in_order if served.ordered else self._fetch_unordered
        self._most_at_once = 1 if served.ordered else _MOST_AT_ONCE
        self._prepare = served.prepare
        self._wait = MarkerWait(served.queue, tokens.worker_id)
        self._draining = asyncio.Event()
        # Slots held for calls under way, and since when (monotonic seconds).
        self._reserved = 0
        self._reserved_at = 0.0
        self.replies_seen = 0

    async def run(self) -> None:
        """Fetch until drained or cancelled."""
        failures = 0
        at_once = 1
        while not self._draining.is_set():
            try:
                if failures:
                    # Hold no slot for a server that may not answer.
                    await self._queue.ping()
                    self.prepare_again()
                at_once = await self._next(at_once)
                failures = 0
            except RedisUnavailable:  # reported as an outage
                failures += 1
                await self._pause(retry_delay(failures))
            except ScriptError as error:
                self.replies_seen += 1
                if await self._quarantined():
                    continue
                failures += 1
                self._served.faults.lasting("fetch", error)
                await self._pause(min(_DAMAGED_SECONDS, 0.1 * 2 ** min(failures, 10)))

    async def drain(self) -> None:
        """Begin nothing more, and leave the marker to other workers; the loop ends by itself."""
        self._draining.set()
        self._slots.close()
        await self._wait.interrupt()

    async def stop(self, timeout: float | None = None) -> None:
        """Cancel the loop, wait for its end, `timeout` seconds at most, and close its connection."""
        await super().stop(timeout)
        await self._wait.close()

    async def restart(self, held: Callable[[], int], *, reconnect: bool) -> None:
        """Start the loop anew on a new waiting connection, with `reconnect` also on a new one for all calls.

        `held` returns how many slots the queue's executions hold: those that the old loop lost are free again.
        """
        await self.stop(_RESTART_SECONDS)
        if reconnect:
            with suppress(TimeoutError):
                async with asyncio.timeout(_RESTART_SECONDS):
                    await self._queue.client.reconnect(self._queue.keys.slot)
        self._slots.recount(held())
        self._wait = MarkerWait(self._queue, self._tokens.worker_id)
        self.start()

    def prepare_again(self) -> None:
        """Do what `ServedQueue.prepare` does before the next fetch: another event is served, or the server was away."""
        self._prepare = self._served.prepare

    async def keep_connected(self) -> None:
        """Keep the waiting connection open also while there is no time to wait. Raises RedisUnavailable."""
        await self._wait.keep_connected()

    def reclaim_slots(self, silence: float) -> None:
        """Lend to other queues the slots of calls without an answer for `silence` seconds."""
        if self._reserved and time.monotonic() - self._reserved_at > silence:
            count, self._reserved = self._reserved, 0
            self._slots.release(count)

    async def _quarantined(self) -> bool:
        """Whether the fetch failed over a damaged job, which is off the queue now."""
        try:
            return await self._unresolved.resolve() > 0
        except (RedisUnavailable, ScriptError):
            return False

    async def _next(self, at_once: int) -> int:
        """Fetch once, wait where there is nothing; returns how many to fetch next."""
        if self._prepare is not None:
            prepare, self._prepare = self._prepare, None
            try:
                await prepare()
            except BaseException:
                self._prepare = prepare
                raise
        if self._unresolved:
            await self._unresolved.resolve()
        slots = await self._slots.acquire(at_once)
        if not slots:
            return at_once
        nothing = await self._fetch(slots)
        self.replies_seen += 1
        self._served.faults.mended("fetch")
        if nothing is None:
            return min(slots * 2, self._most_at_once)
        due_ms = nothing.delayed_until_ms
        if nothing.limited_ms > 0:
            due_ms = now_ms() + nothing.limited_ms
            if not self._served.ordered:
                # Each emit sets a marker, and most of them tell nothing; one may tell that the limit is another now.
                await self._pause(min(nothing.limited_ms / 1000, _LIMITED_SECONDS))
        await self._until_due(due_ms)
        return 1

    async def _fetch(self, count: int) -> Fetched | None:
        """Fetch and begin up to `count` jobs; returns the answer that there are no more, if one was."""
        self._reserved, self._reserved_at = count, time.monotonic()
        tokens = [self._tokens.acquire() for _ in range(count)]
        try:
            calls = [self._fetch_one(token) for token in tokens]
            # A single call, which a new event waits for, needs no task.
            results = [await _caught(calls[0])] if count == 1 else await asyncio.gather(*calls, return_exceptions=True)
        finally:
            reserved, self._reserved = self._reserved, 0
            self._slots.release(reserved)
        errors = [result for result in results if isinstance(result, BaseException)]
        if errors:
            raise errors[0]
        return next((result for result in results if isinstance(result, Fetched) and result.job is None), None)

    async def _fetch_one(self, token: str) -> Fetched:
        """Fetch and begin one job at once: others' answers may be lost, and its lock runs."""
        try:
            fetched = await self._call(token, self._served.events.lock_ms)
        except RedisUnavailable as error:
            if error.maybe_applied:
                self._unresolved.add(token)
            raise
        except BaseException:  # cancelled, or a script that began a job and failed on its hash
            self._unresolved.add(token)
            raise
        if fetched.job is None:
            self._tokens.release(token)
            return fetched
        if self._reserved:
            self._reserved -= 1
        else:  # lent out meanwhile
            self._slots.acquire_over_limit()
        self._begin(fetched.job)
        return fetched

    def _fetch_unordered(self, token: str, lock_ms: int) -> Awaitable[Fetched]:
        return self._queue.fetch(token, lock_ms, by_key=self._served.events.by_key)

    async def _until_due(self, due_ms: int) -> None:
        """Wait until there is something to fetch; the fetch sent along with the wait may begin it."""
        while not self._draining.is_set() and not self._unresolved and (not due_ms or due_ms > now_ms()):
            # Other queues may need a shared slot, and the script of an ordered fetch cannot be sent along.
            if self._slots.exclusive and not self._served.ordered:
                if not await self._slots.acquire(1):
                    return
                due_ms = await self._wait_and_fetch(due_ms)
            else:
                woken = await self._wait.wait(due_ms, None, 0)
                # Without a marker, or with that of a waiting job: fetch now.
                due_ms = min(due_ms or woken.marker_ms, woken.marker_ms) if woken.marker_ms else now_ms()
                if self._draining.is_set() and woken.marker_ms is not None:
                    await self._queue.wake()

    async def _wait_and_fetch(self, due_ms: int) -> int:
        """Wait with a fetch sent along, and begin its job; returns when the next job is due (0: unknown)."""
        token = self._tokens.acquire()
        job = None
        try:
            events = self._served.events
            woken = await self._wait.wait(due_ms, token, events.lock_ms, by_key=events.by_key)
            if woken.fetched is not None:
                job = woken.fetched.job
        except BaseException:
            self._unresolved.add(token)
            raise
        finally:
            if job is None:
                self._slots.release()
        if woken.fetched is None:
            self._unresolved.add(token)
            if self._draining.is_set():
                await self._queue.wake()  # the wait may have taken the marker
            return now_ms()
        self.replies_seen += 1
        if job is not None:
            self._begin(job)
            return now_ms()
        self._tokens.release(token)
        if woken.fetched.limited_ms > 0:
            return now_ms()  # `_next` asks again, and pauses
        return woken.fetched.delayed_until_ms

    async def _pause(self, delay: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._draining.wait()


async def _caught(call: Awaitable[Fetched]) -> Fetched | BaseException:
    try:
        return await call
    except (RedisUnavailable, ScriptError) as error:
        return error
