"""Keeps events apart that a worker has died over, so that the one that kills takes no other down a second time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress

from oxherd.errors import RedisUnavailable
from oxherd.redis.client import ScriptError

# Shares of the lock: for how long they are kept apart in all, since most would wait for too long where hundreds ran, or
# long ones; and after how long one that has no turn is offered again.
_APART = 1 / 3
_STEP = _APART / 20
# Of the event loop: what ends together is written together, one turn later.
_TURNS = 3


class Suspects:
    """Lets a worker run one after the other of those events whose next stall is their last.

    They come back together, and the wait list would give them to one worker again. `clock` is in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first = self._last = -float("inf")
        self._taken = False
        self._turned_away = 0
        self._leaving = 0
        self._left = asyncio.Event()
        self._calm = asyncio.Event()
        self._calm.set()
        self._timer: asyncio.TimerHandle | None = None

    def take_turn(self, lock: float) -> int | None:
        """0 where it is one's turn, from `alone` until `end_turn`; else the milliseconds until it is offered again.

        None: they are not kept apart any more.

        `lock` is its event's, in seconds.
        """
        now = self._clock()
        apart = lock * _APART
        if now - self._last > apart:
            self._first = now
        self._last = now
        left = self._first + apart - now
        if left <= 0:
            return None
        if not self._taken:
            self._taken = True
            self._turned_away = 0
            self._calm.clear()
            return 0
        self._turned_away += 1
        return max(1, round(min(self._turned_away * lock * _STEP, left) * 1000))

    def end_turn(self) -> None:
        """It has ended."""
        self._taken = False
        if self._timer is not None:
            self._timer.cancel()
        self._calm.set()

    @property
    def calm(self) -> bool:
        """Whether what is begun now cannot be taken down by one whose turn has just begun."""
        return self._calm.is_set()

    async def wait_for_calm(self) -> None:
        """Wait out the first moments of a turn: what kills at once has done so by then."""
        await self._calm.wait()

    @contextmanager
    def leaving(self) -> Generator[None]:
        """While one is put back, which is not here any more at the end."""
        self._leaving += 1
        try:
            yield
        finally:
            self._leaving -= 1
            self._left.set()

    async def alone(self, lock: float, ping: Callable[[], Awaitable[None]]) -> None:
        """Wait until those have left that came along, or are on their way; no longer than they are kept apart.

        `ping` is answered by the server after all that it was asked before, and nothing more is asked for meanwhile.
        """
        with suppress(TimeoutError, RedisUnavailable, ScriptError):
            async with asyncio.timeout(lock * _APART):
                for _ in range(_TURNS):
                    await asyncio.sleep(0)
                await ping()
                await asyncio.sleep(0)
                while self._leaving:
                    self._left.clear()
                    await self._left.wait()
        self._timer = asyncio.get_running_loop().call_later(lock * _STEP, self._calm.set)
