"""Poison isolation: begins suspects by themselves, so that an event that kills its worker fails without others."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

# Parts of the lock. A dead worker's events are back on the queue after a lock and a third, and must begin within twice
# the lock: all turns together may take no longer than this.
_ALL = 1 / 5
# A turn of one that runs alone, or waits to run alone; a turn of one that begins beside others.
_ALONE = 1 / 20
_BESIDE = 1 / 200
# Each stall that did not count makes the next turn longer, up to three times.
_FACTOR, _MOST = 4, 3

# Waits for a future, for so many seconds at most; False after that, or if the job is to be put back.
Wait = Callable[[asyncio.Future[None], float | None], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Suspect:
    """An event whose next stall would be its last.

    Attributes:
        lock: in seconds.
        uncounted: how many of its stalls did not count.
        record: writes into its job that it begins in a turn, alone or not; False if the job is no longer ours.
        erase: removes that record; False likewise.
    """

    lock: float
    uncounted: int
    record: Callable[[bool], Awaitable[bool]]
    erase: Callable[[], Awaitable[bool]]

    def seconds(self, part: float) -> float:
        """A part of its lock, longer with each stall that did not count."""
        return self.lock * part * _FACTOR ** min(self.uncounted, _MOST)


class Isolation:
    """Gives the suspects of a process turns; during the first moments of a turn nothing else begins.

    A suspect waits for what runs to end, and begins alone; if that takes too long, beside it. Its job records which,
    until the turn is over. If the process dies during the turn, an event that was alone has stalled; one beside others
    only if that is the third time. Other suspects' stalls do not count, but lengthen their next turn, so that an event
    that kills late is found as well.

    One object serves all queues of a process, since a death takes them all. `clock` is in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._running = 0
        self._turn: object | None = None  # whose turn it is
        self._line: list[tuple[Suspect, asyncio.Future[None]]] = []
        self._blocked: list[asyncio.Future[None]] = []  # everything else
        self._nothing_runs: asyncio.Future[None] | None = None
        self._timer: asyncio.Task[None] | None = None
        self._first = self._last = -float("inf")  # suspects of the present wave
        self._crowded = False  # something runs too long to be waited for again

    def try_enter(self) -> bool:
        """Count one more handler as running, unless a turn forbids it."""
        if self._turn is not None:
            return False
        self._running += 1
        return True

    async def enter(self, wait: Wait) -> bool:
        """As `try_enter`, once it is allowed; False if the job is to be put back."""
        while not self.try_enter():
            turns_over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._blocked.append(turns_over)
            if not await wait(turns_over, None):
                return False
        return True

    async def enter_in_turn(self, suspect: Suspect, wait: Wait) -> bool:
        """As `enter`, in a turn of its own if there is time for one; the suspect is then passed to `leave`."""
        if not await self._has_turn(suspect, self._deadline(suspect), wait):
            return await self.enter(wait)
        alone = recorded = False
        try:
            alone = await self._is_alone(suspect, wait)
            recorded = await suspect.record(alone)
        finally:
            if recorded:
                self._running += 1
                seconds = suspect.seconds(_ALONE if alone else _BESIDE)
                self._timer = asyncio.create_task(self._end_turn_in(suspect, seconds), name="oxherd-isolation")
            else:
                self._end_turn(suspect)
        return recorded

    def leave(self, suspect: Suspect | None = None) -> None:
        """Count a handler as ended, its outcome written."""
        self._running -= 1
        if suspect is not None:
            self._end_turn(suspect)
        if not self._running:
            self._crowded = False
            if self._nothing_runs is not None and not self._nothing_runs.done():
                self._nothing_runs.set_result(None)

    def _deadline(self, suspect: Suspect) -> float:
        """When the turns of all that came back from one death must be over."""
        now = self._clock()
        if now - self._last > suspect.lock * _ALL:
            self._first, self._crowded = now, False
        self._last = now
        return self._first + suspect.seconds(_ALL)

    async def _has_turn(self, suspect: Suspect, deadline: float, wait: Wait) -> bool:
        """Wait for a turn; if True, the caller must end it."""
        if self._clock() >= deadline:
            return False
        if self._turn is None:
            # Let the others line up first, so that chance decides who may be alone.
            opening = self._turn = object()
            asyncio.get_running_loop().call_later(suspect.lock * _BESIDE, self._end_turn, opening)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append((suspect, turn))
        granted = False
        try:
            granted = await wait(turn, deadline - self._clock())
        finally:
            if not granted:
                turn.cancel()
                self._end_turn(suspect)  # it may have been granted at the same moment
        return granted

    async def _is_alone(self, suspect: Suspect, wait: Wait) -> bool:
        """Whether nothing else runs, after a wait for it if that may help."""
        if not self._running or self._crowded:
            return not self._running
        nothing_runs = self._nothing_runs = asyncio.get_running_loop().create_future()
        try:
            alone = await wait(nothing_runs, suspect.seconds(_ALONE))
        finally:
            self._nothing_runs = None
        self._crowded = not alone
        return alone

    async def _end_turn_in(self, suspect: Suspect, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if await suspect.erase():
            self._crowded = True
            self._end_turn(suspect)

    def _end_turn(self, holder: object) -> None:
        """If it is the holder's turn, grant one to the line by lot; without a line, let everything else begin."""
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
            blocked, self._blocked = self._blocked, []
            for turns_over in blocked:
                if not turns_over.done():
                    turns_over.set_result(None)
