"""What a queue's worker does while there is nothing to begin: wait for the marker, and for the next delayed job."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from oxherd.bullmq.clock import now_ms
from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.replies import Fetched, fetched
from oxherd.redis.blocking_pop import BlockingPop, Waited

# Without a marker an idle worker looks again after so long, as BullMQ's drainDelay; a lost marker costs at most this.
DRAINED_SECONDS = 5.0
_UNBLOCK_SECONDS = 0.5
_UNBLOCK_AGAIN_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Woken:
    """How a wait ended.

    `marker_ms` is the score of the marker that it took: 0, or when the next delayed job is due; None without one.
    `fetched` is what the fetch behind it answered; None where none was sent, or it is not known whether it ran.
    """

    marker_ms: int | None
    fetched: Fetched | None


class MarkerWait:
    """One queue's wait, again and again.

    A fetch may be sent right behind the blocking command: the server runs it as soon as the wait ends, whatever ends
    it, which saves a round trip (docs/decisions/hot-path.md). Its job needs a slot, held for as long as the wait.
    """

    def __init__(self, queue: BullQueue, waiter: BlockingPop) -> None:
        self._queue = queue
        self._waiter = waiter
        self._waiting: asyncio.Task[Waited] | None = None

    async def wait(self, due_ms: int, token: str | None, lock_ms: int) -> Woken:
        """Wait for a marker, at most until `due_ms` (0: no such time); `token` is that of a fetch to send along.

        Raises:
            RedisUnavailable, ScriptError, CancelledError: it is not known whether the fetch began a job.
        """
        seconds = max(0.0, due_ms / 1000 - now_ms() / 1000) if due_ms else DRAINED_SECONDS
        most = min(seconds, DRAINED_SECONDS)
        then = None
        if token is not None:
            then = self._queue.fetch_later(token, lock_ms)
            # Over before a lock can run out: where this process is suspended, the server would else give an event that
            # was taken from it to the fetch that still waits.
            most = min(most, lock_ms / 2000)
        waiting = self._waiting = asyncio.create_task(self._waiter.wait(most, then), name="oxherd-marker")
        try:
            await asyncio.wait([waiting], timeout=most if due_ms else None)
            # The server ends a blocking command up to 100 ms late.
            await self._unblock(waiting)
            waited = Waited() if waiting.cancelled() else waiting.result()
        finally:
            self._waiting = None
            waiting.cancel()
        answer = None if token is None or waited.reply is None else fetched(waited.reply, token)
        return Woken(None if waited.score is None else int(waited.score), answer)

    async def stop(self) -> None:
        """Let the wait that is going on end; where the server does not hear of it, give it up."""
        waiting = self._waiting
        if waiting is not None:
            await self._unblock(waiting, within=_UNBLOCK_SECONDS)
            waiting.cancel()  # does nothing where it has ended

    async def _unblock(self, waiting: asyncio.Task[Waited], within: float | None = None) -> None:
        # The server may hear of the end of a wait before it hears of the wait: say it until it is true.
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while not waiting.done():
                    await self._waiter.unblock()
                    await asyncio.wait([waiting], timeout=_UNBLOCK_AGAIN_SECONDS)
