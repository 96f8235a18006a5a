"""Holds an event to its concurrency."""

from __future__ import annotations

import asyncio
from collections import deque


class Limiter:
    """Is held by at most `limit` at once, and by those that wait in their order.

    An `asyncio.Semaphore` that can be acquired without a coroutine, which is several times faster.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._waiting: deque[asyncio.Future[None]] = deque()

    def try_acquire(self) -> bool:
        """Acquire it if it is free, which it is only while nobody waits."""
        if self._free == 0:
            return False
        self._free -= 1
        return True

    def acquire_in_turn(self) -> asyncio.Future[None]:
        """Wait for it while it is not free: it is acquired once the future is done, unless that was cancelled."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        return turn

    def release(self) -> None:
        """Release it, to the next that waits if there is one."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
