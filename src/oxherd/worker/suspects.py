"""Keeps events apart that a worker has died over, so that the one that kills takes no other down a second time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress

from oxherd.errors import RedisUnavailable

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
        self._over = asyncio.Event()
        self._quiet = 0.0

    def take_turn(self, lock: float) -> int:
        """0 where it is one's turn, until `end_turn`; else the milliseconds after which it is to be offered again.

        `lock` is its event's, in seconds.
        """
        now = self._clock()
        apart = lock * _APART
        if now - self._last > apart:
            self._first = now
        self._last = now
        left = self._first + apart - now
        if left <= 0 or not self._taken:
            self._taken = True
            self._over.clear()
            self._turned_away = 0
            self._quiet = lock * _STEP
            return 0
        self._turned_away += 1
        return max(1, round(min(self._turned_away * lock * _STEP, left) * 1000))

    def end_turn(self) -> None:
        """It has ended."""
        self._taken = False
        self._over.set()

    @property
    def busy(self) -> bool:
        """Whether it is one's turn: what is begun now might be taken down by it."""
        return self._taken

    async def calm(self) -> None:
        """Wait while one has its turn, but not for long: what kills at once has done so then."""
        if self._taken:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._quiet):
                    await self._over.wait()

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
        with suppress(TimeoutError, RedisUnavailable):
            async with asyncio.timeout(lock * _APART):
                for _ in range(_TURNS):
                    await asyncio.sleep(0)
                await ping()
                await asyncio.sleep(0)
                while self._leaving:
                    self._left.clear()
                    await self._left.wait()
