"""Shares out a worker's places among its queues: how many events it holds at once, and from which queue each comes."""

from __future__ import annotations

import asyncio
import time
from collections import deque

# A queue that holds no more than its part may go on for so long, in seconds, before its place goes to one that has
# none: passing a place on costs a script more than going on.
_TURN_SECONDS = 0.02


class Places:
    """The places of one worker; `free` ones are below zero while more are held than there are.

    Each queue takes its places through a `Share`. While there are enough, nobody waits; else the one that has waited
    longest comes first, and a queue that holds more than its part gives up a place whenever an event of its ends.
    """

    def __init__(self, capacity: int = 0) -> None:
        self._capacity = capacity
        self.free = capacity
        self.shares = 0
        self._waiting: deque[Share] = deque()
        self._active: set[Share] = set()
        self._hungry: bool | None = False

    def share(self) -> Share:
        """A share for one more queue."""
        self.shares += 1
        return Share(self)

    def resize(self, capacity: int) -> None:
        """There are so many places from now on."""
        self.free += capacity - self._capacity
        self._capacity = capacity
        self._hungry = None
        self._hand_out()

    # -- for the shares

    @property
    def part(self) -> int:
        """What each queue that holds or wants places may hold while others want more."""
        return max(1, self._capacity // max(1, len(self._active)))

    @property
    def crowded(self) -> bool:
        """Whether more queues hold or want places than there are places."""
        return len(self._active) > self._capacity

    @property
    def hungry(self) -> bool:
        """Whether a queue waits that holds less than its part."""
        if self._hungry is None:
            part = self.part
            self._hungry = any(share.held < part for share in self._waiting)
        return self._hungry

    def alone(self, share: Share) -> bool:
        """Whether no other queue holds or wants places."""
        return not self._active or self._active == {share}

    def hold(self, share: Share, count: int) -> None:
        """Count places as held."""
        share.held += count
        self.free -= count
        self._active.add(share)
        self._hungry = None

    def release(self, share: Share, count: int) -> None:
        """Count places as given back; whoever gives one up goes to the end of the line."""
        share.held -= count
        self.free += count
        if share in self._waiting:
            self._waiting.remove(share)
            self._waiting.append(share)
        elif not share.held:
            self._active.discard(share)
        self._hungry = None
        self._hand_out()

    def wait(self, share: Share) -> None:
        """Put a share in the line."""
        self._waiting.append(share)
        self._active.add(share)
        self._hungry = None

    def leave(self, share: Share) -> None:
        """Take a share out of the line."""
        if share in self._waiting:
            self._waiting.remove(share)
            self._hungry = None
        if not share.held:
            self._active.discard(share)

    def _hand_out(self) -> None:
        while self._waiting and self.free > 0:
            part = self.part
            first = next((share for share in self._waiting if share.held < part), self._waiting[0])
            self._waiting.remove(first)
            first.granted()


class Share:
    """One queue's share of the places."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._turn: asyncio.Future[bool] | None = None
        self._since = 0.0
        self._closed = False
        self.held = 0

    @property
    def only(self) -> bool:
        """Whether no other queue has a share of these places."""
        return self._places.shares == 1

    @property
    def full(self) -> bool:
        """Whether a `take` would wait."""
        return self._places.free <= 0

    async def take(self, most: int) -> int:
        """Take up to `most` places, at least one, as soon as there is one; 0 once the share is closed."""
        places = self._places
        if self._closed:
            return 0
        if places.free > 0 and not places.hungry:
            room = most if places.alone(self) else max(1, places.part - self.held)
            count = min(most, room, places.free)
            self._since = time.monotonic()
            places.hold(self, count)
            return count
        turn = self._turn = asyncio.get_running_loop().create_future()
        places.wait(self)
        try:
            return 1 if await turn else 0
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result():
                self.give()  # it was granted at the same moment
            raise
        finally:
            self._turn = None
            places.leave(self)

    def granted(self) -> None:
        """It is this share's turn: one place is its own."""
        self._since = time.monotonic()
        self._places.hold(self, 1)
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(True)

    def give(self, count: int = 1) -> None:
        """Give places back."""
        if count:
            self._places.release(self, count)

    def force(self, count: int = 1) -> None:
        """Take places whether there are any or not, for events that are here already."""
        if count:
            self._places.hold(self, count)

    def correct(self, count: int) -> None:
        """Hold so many places from now on, whatever was counted before."""
        if count > self.held:
            self._places.hold(self, count - self.held)
        else:
            self.give(self.held - count)

    def goes_on(self) -> bool:
        """Whether an event that ends hands its place to the next of the same queue."""
        places = self._places
        if self._closed or places.free < 0:
            return False
        if not places.hungry:
            return True
        if self.held > places.part:
            return False
        return not places.crowded or time.monotonic() - self._since < _TURN_SECONDS

    def close(self) -> None:
        """Take no more."""
        if not self._closed:
            self._places.shares -= 1
        self._closed = True
        self._places.leave(self)
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(False)
