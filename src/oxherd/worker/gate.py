"""Lets no more of an event run at once than its concurrency says, also where several events share a queue."""

from __future__ import annotations

import asyncio
from collections import deque


class Gate:
    """An event's places. On a shared queue a job may be fetched before there is a place for it."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._free = places
        self._waiting: deque[asyncio.Future[bool]] = deque()
        self._closed = False

    @property
    def crowded(self) -> bool:
        """Whether as many wait as there are places: more would keep the other events of the queue away."""
        return len(self._waiting) >= self._places

    def try_enter(self) -> bool:
        """Take a place, if there is one now."""
        if self._closed or self._free <= 0:
            return False
        self._free -= 1
        return True

    async def wait(self) -> bool:
        """Take a place, once there is one; False when the gate was closed meanwhile."""
        if self._closed:
            return False
        place: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        return await place

    def leave(self) -> None:
        """Give a place back; the one that has waited longest gets it."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(True)
                return
        self._free += 1

    def close(self) -> None:
        """Let nobody in any more, and send those away who wait."""
        self._closed = True
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(False)
