"""What a queue's worker does while there is nothing to begin: wait for the marker, and for the next delayed job."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from oxherd.errors import RedisUnavailable
from oxherd.queue.answers import NOTHING, Fetched, fetched
from oxherd.queue.clock import now_ms
from oxherd.queue.queue import BullQueue
from oxherd.redis.client import ScriptError
from oxherd.redis.waiter import Waited, Waiter

# Without a marker an idle worker looks again after so long, as BullMQ's drainDelay; a lost marker costs at most this.
_DRAINED_SECONDS = 5.0
_UNBLOCK_SECONDS = 0.5
_UNBLOCK_AGAIN_SECONDS = 0.02


class Idle:
    """One queue's wait.

    `token` gives the token for a fetch that is sent along with a wait, None where there is to be none; `doubtful`
    collects those of fetches of which nobody knows whether they began a job.
    """

    def __init__(
        self,
        queue: BullQueue,
        waiter: Waiter,
        *,
        token: Callable[[], str | None],
        lock_ms: Callable[[], int],
        doubtful: set[str],
    ) -> None:
        self._queue = queue
        self._waiter = waiter
        self._new_token = token
        self._lock_ms = lock_ms
        self._doubtful = doubtful
        self._waiting: asyncio.Task[Waited] | None = None
        self._token: str | None = None
        self._stopping = False
        # Whether the server does not know the script that goes along with a wait; the next fetch makes it known.
        self.unknown = False
        # How often the server has said, to the fetch behind a wait, what there is to begin.
        self.asked = 0

    @property
    def waits(self) -> bool:
        """Whether a wait is going on, and with it perhaps a fetch."""
        return self._waiting is not None

    async def wait(self, delayed_until_ms: int) -> Fetched | None:
        """Wait for a marker, or until the next delayed job is due; what the fetch behind the wait brought.

        None: it is to be fetched now, or the worker stops. The server ends a blocking command up to 100 ms late; our
        own clock does not, so a wait that is going on is left to go on while what has come due is fetched.
        """
        while not self._stopping:
            waiting = self._waiting or self._start()
            due = max(0.0, (delayed_until_ms - now_ms()) / 1000) if delayed_until_ms else None
            await asyncio.wait([waiting], timeout=due)
            if not waiting.done():
                return None
            if self._stopping:
                return None  # `end` takes care of it
            waited, found = self._result(waiting)
            if self.unknown:
                return None
            if found is not None:
                if found.job is not None:
                    return found
                if self._doubtful:
                    return None  # what a lost answer began elsewhere is looked for before the next fetch
                delayed_until_ms = now_ms() + found.limited_ms if found.limited_ms > 0 else found.delayed_until_ms
                continue
            if waited.score is None or waited.score <= now_ms():
                return None
            # The marker of a delayed job, before its time.
            delayed_until_ms = int(min(delayed_until_ms or waited.score, waited.score))
        return None

    async def recall(self) -> Fetched:
        """End the wait that is going on; what its fetch brought all the same."""
        waiting = self._waiting
        if waiting is None:
            return NOTHING
        await self._unblock(waiting)
        await asyncio.wait([waiting])
        waited, found = self._result(waiting)
        if waited.score is not None and found is None:
            await self._queue.wake()
        return found or NOTHING

    async def stop(self) -> None:
        """Leave the marker to others: let the wait end."""
        self._stopping = True
        waiting = self._waiting
        if waiting is not None:
            await self._unblock(waiting, within=_UNBLOCK_SECONDS)
            if not waiting.done():
                waiting.cancel()

    async def abandon(self) -> Fetched:
        """`stop` and `end` at once, for a loop that does not go on by itself."""
        self._stopping = True
        return await self.end()

    async def end(self) -> Fetched:
        """After `stop`: a marker that was taken at the last moment is put back; a job that was begun is answered.

        Raises:
            RedisUnavailable, ScriptError: it could not be done; others look by themselves within seconds.
        """
        waiting = self._waiting
        if waiting is None:
            return NOTHING
        if not waiting.done():
            waiting.cancel()
            await asyncio.wait([waiting])
        cancelled = waiting.cancelled()
        waited, found = self._result(waiting)
        if cancelled or (waited.score is not None and found is None):
            await self._queue.wake()
        return found or NOTHING

    def _start(self) -> asyncio.Task[Waited]:
        token = self._token = self._new_token()
        lock_ms = self._lock_ms()
        then = None if token is None else self._queue.fetch_later(token, lock_ms)
        # Over before the lock of anything that runs here can run out: where this process is stopped, the server would
        # else give the very event that was taken from it to the fetch that still waits, and count a second stall.
        most = _DRAINED_SECONDS if token is None else min(_DRAINED_SECONDS, lock_ms / 2000)
        self._waiting = asyncio.create_task(self._waiter.wait(most, then), name="oxherd-marker")
        return self._waiting

    def _result(self, waiting: asyncio.Task[Waited]) -> tuple[Waited, Fetched | None]:
        """How the wait ended, and what the fetch behind it brought, if one was sent and answered."""
        self._waiting = None
        if waiting.cancelled():
            self._doubt()
            return Waited(), None
        try:
            waited = waiting.result()
        except (RedisUnavailable, ScriptError):
            self._doubt()
            raise
        token = self._token
        self.unknown = self.unknown or waited.unknown
        if token is None or waited.unknown:
            return waited, None
        if waited.answer is None:
            self._doubt()
            return waited, None
        self.asked += 1
        return waited, fetched(waited.answer, token)

    def _doubt(self) -> None:
        if self._token is not None:
            self._doubtful.add(self._token)

    async def _unblock(self, waiting: asyncio.Task[Waited], within: float | None = None) -> None:
        # The server may hear of the end of a wait before it hears of the wait: say it until it is true.
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while not waiting.done():
                    await self._waiter.unblock()
                    await asyncio.wait([waiting], timeout=_UNBLOCK_AGAIN_SECONDS)
