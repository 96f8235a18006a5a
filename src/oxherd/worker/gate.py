"""Lets no more of an event run at once than its concurrency says, also where several events share a queue."""

from __future__ import annotations

import asyncio
from collections import deque


class Gate:
    """An event's places. On a shared queue a job may be fetched before there is a place for it."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._free = places
        self._line: deque[asyncio.Future[None]] = deque()

    @property
    def crowded(self) -> bool:
        """Whether as many wait as there are places: more would keep the other events of the queue away."""
        return len(self._line) >= self._places

    def try_enter(self) -> bool:
        """Take a place, if there is one now."""
        if self._free <= 0:
            return False
        self._free -= 1
        return True

    def line_up(self) -> asyncio.Future[None]:
        """A future that is done once a place is taken for it; cancelled, it takes none."""
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(place)
        return place

    def leave(self) -> None:
        """Give a place back; the one that has waited longest gets it."""
        while self._line:
            place = self._line.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1
