"""Keeps events apart that a worker has died over, so that the one that kills takes no other down a second time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

# Shares of the lock: for how long they are kept apart in all, since most would wait for too long where hundreds ran, or
# long ones; and after how long one that has no turn is offered again.
_APART = 1 / 3
_STEP = _APART / 20


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
            self._turned_away = 0
            return 0
        self._turned_away += 1
        return max(1, round(min(self._turned_away * lock * _STEP, left) * 1000))

    def end_turn(self) -> None:
        """It has ended."""
        self._taken = False

    @contextmanager
    def leaving(self) -> Generator[None]:
        """While one is put back, which is not here any more at the end."""
        self._leaving += 1
        try:
            yield
        finally:
            self._leaving -= 1
            self._left.set()

    async def alone(self, lock: float) -> None:
        """Wait until those have left that came along; no longer than they are kept apart."""
        await asyncio.sleep(0)  # they begin in the same turn of the loop
        try:
            async with asyncio.timeout(lock * _APART):
                while self._leaving:
                    self._left.clear()
                    await self._left.wait()
        except TimeoutError:
            return
