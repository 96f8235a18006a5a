"""Slots: how many events a worker runs at once, shared fairly among its queues."""

from __future__ import annotations

import asyncio
import time
from collections import deque

# Handing a slot to another queue costs a script call more than fetching on with the finish. So a queue within its fair
# share keeps one for this long, in seconds, even where there are more queues than slots.
_TURN_SECONDS = 0.02


class SlotPool:
    """The slots of one worker; each queue acquires its own through `QueueSlots`.

    While slots suffice, nobody waits. Otherwise a queue that holds less than its fair share comes first, then the one
    that has waited longest; a queue over its share gives up a slot whenever one of its events ends.

    Attributes:
        free: negative while more slots are held than there are.
    """

    def __init__(self, capacity: int = 0) -> None:
        self._capacity = capacity
        self.free = capacity
        self.queues = 0
        self._waiting: deque[QueueSlots] = deque()
        self._active: set[QueueSlots] = set()  # those that hold slots or wait for one
        self._underserved: bool | None = False  # None: to be computed

    def queue_slots(self) -> QueueSlots:
        """Slots for one more queue."""
        self.queues += 1
        return QueueSlots(self)

    def resize(self, capacity: int) -> None:
        """Change the number of slots."""
        self.free += capacity - self._capacity
        self._capacity = capacity
        self._grant()

    # -- for QueueSlots

    @property
    def fair_share(self) -> int:
        """How many slots each active queue may hold while others want more."""
        return max(1, self._capacity // max(1, len(self._active)))

    @property
    def crowded(self) -> bool:
        """Whether there are more active queues than slots."""
        return len(self._active) > self._capacity

    @property
    def has_underserved(self) -> bool:
        """Whether a queue waits that holds less than its fair share."""
        if self._underserved is None:
            share = self.fair_share
            self._underserved = any(slots.held < share for slots in self._waiting)
        return self._underserved

    def only_active(self, slots: QueueSlots) -> bool:
        """Whether no other queue holds or wants slots."""
        return not self._active or self._active == {slots}

    def hold(self, slots: QueueSlots, count: int) -> None:
        """Count slots as held, even over the limit."""
        slots.held += count
        self.free -= count
        self._active.add(slots)
        self._underserved = None

    def release(self, slots: QueueSlots, count: int) -> None:
        """Count slots as free; a queue that gives one up goes to the end of the line."""
        slots.held -= count
        self.free += count
        if slots in self._waiting:
            self._waiting.remove(slots)
            self._waiting.append(slots)
        elif not slots.held:
            self._active.discard(slots)
        self._grant()

    def wait(self, slots: QueueSlots) -> None:
        """Line up for a slot."""
        self._waiting.append(slots)
        self._active.add(slots)
        self._underserved = None

    def leave(self, slots: QueueSlots) -> None:
        """Leave the line, if in it."""
        if slots in self._waiting:
            self._waiting.remove(slots)
            self._underserved = None
        if not slots.held:
            self._active.discard(slots)

    def _grant(self) -> None:
        self._underserved = None
        while self._waiting and self.free > 0:
            share = self.fair_share
            first = next((slots for slots in self._waiting if slots.held < share), self._waiting[0])
            self._waiting.remove(first)
            first.grant()


class QueueSlots:
    """One queue's slots out of a pool."""

    def __init__(self, pool: SlotPool) -> None:
        self._pool = pool
        self._turn: asyncio.Future[bool] | None = None
        self._acquired_at = 0.0
        self._closed = False
        self.held = 0

    @property
    def exclusive(self) -> bool:
        """Whether no other queue shares the pool."""
        return self._pool.queues == 1

    async def acquire(self, most: int) -> int:
        """Wait for a slot, and take up to `most`; returns how many, 0 once closed."""
        pool = self._pool
        if self._closed:
            return 0
        if pool.free > 0 and not pool.has_underserved:
            room = most if pool.only_active(self) else max(1, pool.fair_share - self.held)
            count = min(most, room, pool.free)
            self._acquired_at = time.monotonic()
            pool.hold(self, count)
            return count
        turn = self._turn = asyncio.get_running_loop().create_future()
        pool.wait(self)
        try:
            return 1 if await turn else 0
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result():
                self.release()  # granted at the same moment
            raise
        finally:
            self._turn = None
            pool.leave(self)

    def grant(self) -> None:
        """Take one slot for the `acquire` that waits; for the pool to call."""
        self._acquired_at = time.monotonic()
        self._pool.hold(self, 1)
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(True)

    def release(self, count: int = 1) -> None:
        """Give slots back."""
        if count:
            self._pool.release(self, count)

    def acquire_over_limit(self, count: int = 1) -> None:
        """Take slots at once, free or not, for events that run already."""
        if count:
            self._pool.hold(self, count)

    def recount(self, held: int) -> None:
        """Hold exactly `held` slots, whatever was counted before."""
        if held > self.held:
            self._pool.hold(self, held - self.held)
        else:
            self.release(self.held - held)

    def may_continue(self) -> bool:
        """Whether an event that ends passes its slot on to the next event of the same queue."""
        pool = self._pool
        if self._closed or pool.free < 0:
            return False
        if not pool.has_underserved:
            return True
        if self.held > pool.fair_share:
            return False
        return not pool.crowded or time.monotonic() - self._acquired_at < _TURN_SECONDS

    def close(self) -> None:
        """Acquire nothing more."""
        if not self._closed:
            self._pool.queues -= 1
        self._closed = True
        self._pool.leave(self)
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(False)
