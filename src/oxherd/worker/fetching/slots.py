"""Shares out a worker's slots among its queues: how many events it holds at once, and from which queue each comes."""

from __future__ import annotations

import asyncio
import time
from collections import deque

# A queue that holds no more than its part may go on for so long, in seconds, before its slot goes to one that has
# none: passing a slot on costs a script more than going on.
_TURN_SECONDS = 0.02


class SlotPool:
    """The slots of one worker; `free` ones are below zero while more are held than there are.

    Each queue takes its slots through `QueueSlots`. While there are enough, nobody waits; else the one that has waited
    longest comes first, and a queue that holds more than its part gives up a slot whenever an event of its ends.
    """

    def __init__(self, capacity: int = 0) -> None:
        self._capacity = capacity
        self.free = capacity
        self.queues = 0
        self._waiting: deque[QueueSlots] = deque()
        self._active: set[QueueSlots] = set()
        self._hungry: bool | None = False

    def queue_slots(self) -> QueueSlots:
        """A share for one more queue."""
        self.queues += 1
        return QueueSlots(self)

    def resize(self, capacity: int) -> None:
        """There are so many slots from now on."""
        self.free += capacity - self._capacity
        self._capacity = capacity
        self._hungry = None
        self._hand_out()

    # -- for the queues

    @property
    def fair_share(self) -> int:
        """What each queue that holds or wants slots may hold while others want more."""
        return max(1, self._capacity // max(1, len(self._active)))

    @property
    def crowded(self) -> bool:
        """Whether more queues hold or want slots than there are slots."""
        return len(self._active) > self._capacity

    @property
    def has_underserved(self) -> bool:
        """Whether a queue waits that holds less than its part."""
        if self._hungry is None:
            part = self.fair_share
            self._hungry = any(share.held < part for share in self._waiting)
        return self._hungry

    def alone(self, share: QueueSlots) -> bool:
        """Whether no other queue holds or wants slots."""
        return not self._active or self._active == {share}

    def hold(self, share: QueueSlots, count: int) -> None:
        """Count slots as held."""
        share.held += count
        self.free -= count
        self._active.add(share)
        self._hungry = None

    def release(self, share: QueueSlots, count: int) -> None:
        """Count slots as given back; whoever gives one up goes to the end of the line."""
        share.held -= count
        self.free += count
        if share in self._waiting:
            self._waiting.remove(share)
            self._waiting.append(share)
        elif not share.held:
            self._active.discard(share)
        self._hungry = None
        self._hand_out()

    def wait(self, share: QueueSlots) -> None:
        """Put a share in the line."""
        self._waiting.append(share)
        self._active.add(share)
        self._hungry = None

    def leave(self, share: QueueSlots) -> None:
        """Take a share out of the line."""
        if share in self._waiting:
            self._waiting.remove(share)
            self._hungry = None
        if not share.held:
            self._active.discard(share)

    def _hand_out(self) -> None:
        while self._waiting and self.free > 0:
            part = self.fair_share
            first = next((share for share in self._waiting if share.held < part), self._waiting[0])
            self._waiting.remove(first)
            first.granted()


class QueueSlots:
    """One queue's share of the slots."""

    def __init__(self, slots: SlotPool) -> None:
        self._pool = slots
        self._turn: asyncio.Future[bool] | None = None
        self._since = 0.0
        self._closed = False
        self.held = 0

    @property
    def only(self) -> bool:
        """Whether no other queue has a share of these slots."""
        return self._pool.queues == 1

    @property
    def full(self) -> bool:
        """Whether a `take` would wait."""
        return self._pool.free <= 0

    async def take(self, most: int) -> int:
        """Take up to `most` slots, at least one, as soon as there is one; 0 once the share is closed."""
        pool = self._pool
        if self._closed:
            return 0
        if pool.free > 0 and not pool.has_underserved:
            room = most if pool.alone(self) else max(1, pool.fair_share - self.held)
            count = min(most, room, pool.free)
            self._since = time.monotonic()
            pool.hold(self, count)
            return count
        turn = self._turn = asyncio.get_running_loop().create_future()
        pool.wait(self)
        try:
            return 1 if await turn else 0
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result():
                self.give()  # it was granted at the same moment
            raise
        finally:
            self._turn = None
            pool.leave(self)

    def granted(self) -> None:
        """It is this share's turn: one slot is its own."""
        self._since = time.monotonic()
        self._pool.hold(self, 1)
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(True)

    def give(self, count: int = 1) -> None:
        """Give slots back."""
        if count:
            self._pool.release(self, count)

    def acquire_over_limit(self, count: int = 1) -> None:
        """Take slots whether there are any or not, for events that are here already."""
        if count:
            self._pool.hold(self, count)

    def correct(self, count: int) -> None:
        """Hold so many slots from now on, whatever was counted before."""
        if count > self.held:
            self._pool.hold(self, count - self.held)
        else:
            self.give(self.held - count)

    def may_continue(self) -> bool:
        """Whether an event that ends hands its slot to the next of the same queue."""
        pool = self._pool
        if self._closed or pool.free < 0:
            return False
        if not pool.has_underserved:
            return True
        if self.held > pool.fair_share:
            return False
        return not pool.crowded or time.monotonic() - self._since < _TURN_SECONDS

    def close(self) -> None:
        """Take no more."""
        if not self._closed:
            self._pool.queues -= 1
        self._closed = True
        self._pool.leave(self)
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(False)
