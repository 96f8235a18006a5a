"""Begins events by themselves that a worker has died over, so that the one that kills takes no other to failed."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol
from weakref import WeakKeyDictionary

# Shares of a lock. What a dead worker ran is back on its queue within a lock and a third, and has to begin before the
# lock is over twice: so long may all of it together keep others from beginning.
_ALL = 1 / 5
# One that runs alone, or waits until it can; one that begins beside others. Doubled with each uncounted stall.
_ALONE = 1 / 20
_BESIDE = 1 / 200


class Mark(Enum):
    """What a job's hash says of its begin, for the stalled check of whoever comes after this process."""

    HELD = "held"  # not begun: it waits for somebody's turn
    ALONE = "alone"
    BESIDE = "beside"  # in a turn, but something else runs


class Candidate(Protocol):
    """An event that is to begin.

    `uncounted` is how many of its stalls did not count.
    """

    @property
    def uncounted(self) -> int: ...

    async def wait(self, future: asyncio.Future[Any], seconds: float | None = None) -> bool:
        """Wait for a future; False if that takes more than `seconds`, or the event must not begin any more."""
        ...

    async def mark(self, mark: Mark | None) -> bool:
        """Set or remove the mark, as far as the server can be told soon; False if the event must not begin."""
        ...


class Isolation:
    """Gives the suspects of a process turns: events whose next stall would be their last.

    Nothing else begins in the first moments of a turn. A suspect waits until what runs has ended, and begins alone; if
    that takes too long, it begins beside it. Its job says which, until its first moments are over and something else
    begins. If the process dies before, one that was alone has stalled; one beside others only at the third time. Other
    suspects' stalls do not count, but for the fourth.

    One for all herds of an event loop, since a death takes them all. `clock` returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = float("inf")
        self._running = 0
        self._turn: object | None = None  # whose turn it is
        self._expired = False  # its first moments are over, and nothing else has wanted to begin
        self._line: list[tuple[Candidate, asyncio.Future[None]]] = []
        self._held: list[asyncio.Future[None]] = []
        self._alone: asyncio.Future[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._first = self._last = -float("inf")
        self._crowded = False  # something runs for too long to be waited for again

    def serve(self, lock: float) -> None:
        """Keep the promise of a lock of so many seconds as well."""
        self._lock = min(self._lock, lock)

    def try_enter(self) -> bool:
        """Count one more handler as running, unless somebody's turn keeps it from beginning."""
        if self._turn is not None:
            return False
        self._running += 1
        return True

    async def enter(self, candidate: Candidate) -> bool:
        """As `try_enter`, as soon as it may begin; False if it must not."""
        while not self.try_enter():
            if not await candidate.mark(Mark.HELD):
                return False
            while self._turn is not None:
                calm: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._held.append(calm)
                self._end_expired()
                if not await candidate.wait(calm):
                    return False
            if not await candidate.mark(None):
                return False
        return True

    async def enter_in_turn(self, suspect: Candidate) -> bool:
        """As `enter`, in a turn of its own if there is time for one; `leave` is told of the suspect."""
        if not await self._has_turn(suspect):
            return await suspect.mark(None) and await self.enter(suspect)
        alone = begins = False
        try:
            alone = await self._is_alone(suspect)
            begins = await suspect.mark(Mark.ALONE if alone else Mark.BESIDE)
        finally:
            if begins:
                self._running += 1
                ending = self._end_in_time(self._seconds(suspect, _ALONE if alone else _BESIDE))
                self._ending = asyncio.create_task(ending, name="oxherd-isolation")
            else:
                self._end_turn(suspect)
        return begins

    def leave(self, suspect: Candidate | None = None) -> None:
        """The handler has ended, and its outcome is written."""
        self._running -= 1
        if suspect is not None:
            self._end_turn(suspect)
        if not self._running:
            self._crowded = False
            if self._alone is not None and not self._alone.done():
                self._alone.set_result(None)

    def _seconds(self, suspect: Candidate, share: float) -> float:
        return max(0.0, min(self._lock * share * 2**suspect.uncounted, self._left()))

    def _left(self) -> float:
        """Seconds that are left for turns, for all that come back from one death together."""
        return self._first + self._lock * _ALL - self._clock()

    def _note_arrival(self) -> None:
        now = self._clock()
        if now - self._last > self._lock * _ALL:
            self._first, self._crowded = now, False
        self._last = now

    async def _has_turn(self, suspect: Candidate) -> bool:
        """Whether it has a turn, which it has to end."""
        self._note_arrival()
        if self._left() <= 0 or not await suspect.mark(Mark.HELD):
            return False
        if self._turn is None:
            # Those that come along are given a moment, so that chance decides who is first: that one may be alone.
            opening = self._turn = object()
            asyncio.get_running_loop().call_later(self._lock * _BESIDE, self._end_turn, opening)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append((suspect, turn))
        self._end_expired()
        granted = False
        try:
            granted = await suspect.wait(turn, self._left())
        finally:
            if not granted:
                turn.cancel()
                self._end_turn(suspect)  # it may have been given the turn at the same moment
        return granted

    async def _is_alone(self, suspect: Candidate) -> bool:
        """Whether nothing else runs, or has ended in time."""
        if not self._running or self._crowded:
            return not self._running
        alone = self._alone = asyncio.get_running_loop().create_future()
        try:
            ended = await suspect.wait(alone, self._seconds(suspect, _ALONE))
        finally:
            self._alone = None
        self._crowded = not ended
        return ended

    async def _end_in_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._expired = True
        self._ending = None
        if self._held or self._line:
            self._end_expired()

    def _end_expired(self) -> None:
        """Something else wants to begin: end a turn whose first moments are over."""
        if self._expired and self._ending is None:
            self._ending = asyncio.create_task(self._unmark(self._turn), name="oxherd-isolation")

    async def _unmark(self, suspect: Any) -> None:
        await suspect.mark(None)
        self._crowded = True
        self._end_turn(suspect)

    def _end_turn(self, holder: object) -> None:
        """If it is the holder's turn, give it to another in line; without one, let everything else begin."""
        if self._turn is not holder:
            return
        ending, self._ending, self._turn, self._expired = self._ending, None, None, False
        if ending is not None and ending is not asyncio.current_task():
            ending.cancel()
        while self._line and self._turn is None:
            suspect, turn = self._line.pop(random.randrange(len(self._line)))  # noqa: S311 - it keeps no secret
            if not turn.done():
                self._turn = suspect
                turn.set_result(None)
        if self._turn is None:
            held, self._held = self._held, []
            for calm in held:
                if not calm.done():
                    calm.set_result(None)


_BY_LOOP: WeakKeyDictionary[asyncio.AbstractEventLoop, Isolation] = WeakKeyDictionary()


def isolation_of_loop() -> Isolation:
    """The running event loop's."""
    return _BY_LOOP.setdefault(asyncio.get_running_loop(), Isolation())
