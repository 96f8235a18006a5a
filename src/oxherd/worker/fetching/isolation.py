"""Begins events by themselves that a worker has died over, so that the one that kills takes no other to failed."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

# Shares of the lock. What a dead worker ran is back on its queue within a lock and a third, and has to begin before the
# lock is over twice: so long may all of it together keep others from being begun.
_ALL = 1 / 5
# One that runs alone, or waits until it can; one that is begun beside others.
_ALONE = 1 / 20
_BESIDE = 1 / 200
# With each stall that did not count the next turn may be longer, three times.
_FACTOR, _MOST = 4, 3

# Waits for a future, for so many seconds at most; False where it was not done by then, or the job is to be put back.
Wait = Callable[[asyncio.Future[None], float | None], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Suspect:
    """An event whose next stall would be its last.

    `lock` is in seconds, `uncounted` how many of its stalls did not count. `record` writes down that it is begun by
    itself, and whether alone (False: it is not ours any more), `erase` takes that back.
    """

    lock: float
    uncounted: int
    record: Callable[[bool], Awaitable[bool]]
    erase: Callable[[], Awaitable[bool]]

    def seconds(self, share: float) -> float:
        """A share of its lock, longer with each stall that did not count."""
        return self.lock * share * _FACTOR ** min(self.uncounted, _MOST)


class Isolation:
    """Gives the suspects of a process turns; nothing else is begun in the first moments of one.

    Each waits until what runs has ended, and is begun alone; where that takes too long, it is begun beside it. Which of
    both is noted in its job, until its first moments are over. If the process dies in them, one that was begun alone
    has stalled, one beside others only if that happens to it a third time. Other suspects' stalls do not count, but
    their next turns are longer, so that one that kills late is found as well.

    One object for all queues of a process, since a death takes them all. `clock` is in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._running = 0
        self._turn: object | None = None  # whose turn it is
        self._line: list[tuple[Suspect, asyncio.Future[None]]] = []
        self._held: list[asyncio.Future[None]] = []  # everything else
        self._alone: asyncio.Future[None] | None = None
        self._timer: asyncio.Task[None] | None = None
        self._first = self._last = -float("inf")
        self._crowded = False  # something runs for too long to be waited for again

    def try_enter(self) -> bool:
        """Count one more handler as running, unless somebody's turn keeps it from being begun."""
        if self._turn is not None:
            return False
        self._running += 1
        return True

    async def enter(self, wait: Wait) -> bool:
        """As `try_enter`, as soon as it may be begun; False where it is to be put back instead."""
        while not self.try_enter():
            calm: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._held.append(calm)
            if not await wait(calm, None):
                return False
        return True

    async def enter_by_itself(self, suspect: Suspect, wait: Wait) -> bool:
        """As `enter`, in a turn of its own if there is time for one; `leave` is told of the suspect."""
        until = self._until(suspect)
        if not await self._has_turn(suspect, until, wait):
            return await self.enter(wait)
        alone = recorded = False
        try:
            alone = await self._has_ended(suspect, wait)
            recorded = await suspect.record(alone)
        finally:
            if recorded:
                self._running += 1
                seconds = suspect.seconds(_ALONE if alone else _BESIDE)
                self._timer = asyncio.create_task(self._end_in_time(suspect, seconds), name="oxherd-isolation")
            else:
                self._end_turn(suspect)
        return recorded

    def leave(self, suspect: Suspect | None = None) -> None:
        """The handler has ended, and its outcome is written."""
        self._running -= 1
        if suspect is not None:
            self._end_turn(suspect)
        if not self._running:
            self._crowded = False
            if self._alone is not None and not self._alone.done():
                self._alone.set_result(None)

    def _until(self, suspect: Suspect) -> float:
        """When there is no time left for turns, for all that come back from one death together."""
        now = self._clock()
        if now - self._last > suspect.lock * _ALL:
            self._first, self._crowded = now, False
        self._last = now
        return self._first + suspect.seconds(_ALL)

    async def _has_turn(self, suspect: Suspect, until: float, wait: Wait) -> bool:
        """Whether it has a turn, which it has to end."""
        if self._clock() >= until:
            return False
        if self._turn is None:
            # Those that come along are given a moment, so that chance decides who is first: that one may be alone.
            opening = self._turn = object()
            asyncio.get_running_loop().call_later(suspect.lock * _BESIDE, self._end_turn, opening)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append((suspect, turn))
        granted = False
        try:
            granted = await wait(turn, until - self._clock())
        finally:
            if not granted:
                turn.cancel()
                self._end_turn(suspect)  # it may have been given the turn at the same moment
        return granted

    async def _has_ended(self, suspect: Suspect, wait: Wait) -> bool:
        """Whether nothing else runs, or has ended in time."""
        if not self._running or self._crowded:
            return not self._running
        alone = self._alone = asyncio.get_running_loop().create_future()
        try:
            ended = await wait(alone, suspect.seconds(_ALONE))
        finally:
            self._alone = None
        self._crowded = not ended
        return ended

    async def _end_in_time(self, suspect: Suspect, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if await suspect.erase():
            self._crowded = True
            self._end_turn(suspect)

    def _end_turn(self, holder: object) -> None:
        """Where it has the turn, give it to another in line; without one, let everything else be begun."""
        if self._turn is not holder:
            return
        timer, self._timer, self._turn = self._timer, None, None
        if timer is not None and timer is not asyncio.current_task():
            timer.cancel()
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
