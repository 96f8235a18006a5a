"""Waits, while a queue has nothing to begin, for its marker or for its next delayed job."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from oxherd.bullmq.clock import bounded_ms, now_ms
from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.replies import Fetched, fetched
from oxherd.redis.blocking_pop import BlockingPop, Waited

# An idle worker fetches this often without a marker, as with BullMQ's drainDelay: the most that a lost marker costs.
DRAINED_SECONDS = 5.0
_UNBLOCK_SECONDS = 0.5
_UNBLOCK_AGAIN_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Woken:
    """How a wait ended.

    Attributes:
        marker_ms: the score of the taken marker: 0, or when the next delayed job is due. None without a marker.
        fetched: the answer of the fetch behind the wait; None where none was sent, or where it may not have run.
    """

    marker_ms: int | None
    fetched: Fetched | None


class MarkerWait:
    """One queue's blocking pop of the marker, on a connection of its own. Command: BZPOPMIN, CLIENT UNBLOCK.

    A fetch may be sent right behind the pop: the server runs it as soon as the wait ends, however it ends, which saves
    a round trip (docs/decisions/hot-path.md). Its job needs a slot, held during the wait.
    """

    def __init__(self, queue: BullQueue, worker_id: str) -> None:
        self._queue = queue
        name = queue.keys.worker_connection(worker_id)
        self._pop = BlockingPop(queue.client, queue.keys.slot, queue.keys.marker, name)
        self._waiting: asyncio.Task[Waited] | None = None

    async def wait(self, due_ms: int, token: str | None, lock_ms: int, *, by_key: bool = False) -> Woken:
        """Wait for a marker, until `due_ms` at most (0: unlimited); `token` sends a fetch along.

        Raises:
            RedisUnavailable, ScriptError, CancelledError: the fetch may have begun a job.
        """
        seconds = max(0.0, due_ms / 1000 - now_ms() / 1000) if due_ms else DRAINED_SECONDS
        most = min(seconds, DRAINED_SECONDS)
        then = None
        if token is not None:
            then = self._queue.fetch_later(token, lock_ms, by_key=by_key)
            # Shorter than a lock: while this process is suspended, its waiting fetch must not get the very event that
            # the server has just taken from it.
            most = min(most, lock_ms / 2000)
        waiting = self._waiting = asyncio.create_task(self._pop.wait(most, then), name="oxherd-marker")
        try:
            await asyncio.wait([waiting], timeout=most if due_ms else None)
            # The server itself ends a blocking command up to 100 ms late.
            await self._unblock(waiting)
            waited = Waited() if waiting.cancelled() else waiting.result()
        finally:
            self._waiting = None
            waiting.cancel()
        answer = None if token is None or waited.reply is None else fetched(waited.reply, token)
        marker_ms = None if waited.score is None else bounded_ms(waited.score)
        return Woken(marker_ms, answer)

    async def keep_connected(self) -> None:
        """Connect, or connect anew, without waiting. Raises RedisUnavailable."""
        await self._pop.keep_connected()

    async def interrupt(self) -> None:
        """End the present wait; give it up where the server cannot be told."""
        waiting = self._waiting
        if waiting is not None:
            await self._unblock(waiting, within=_UNBLOCK_SECONDS)
            waiting.cancel()

    async def close(self) -> None:
        """Close the connection."""
        await self._pop.close()

    async def _unblock(self, waiting: asyncio.Task[Waited], within: float | None = None) -> None:
        # Repeated, since CLIENT UNBLOCK may overtake the wait, which goes over another connection.
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while not waiting.done():
                    await self._pop.unblock()
                    await asyncio.wait([waiting], timeout=_UNBLOCK_AGAIN_SECONDS)
