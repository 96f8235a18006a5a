"""What a sender does next: what was just committed, and its sweeps. It does no I/O and is told the time."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from oxherd.outbox.rows import BATCH, Delivered, Given, Page, Selection
from oxherd.redis.retry import retry_delay

# What is over this is left to a sweep.
_MOST_PENDING = 10_000
_LONGEST_PAUSE = 5.0
# So long an event whose server alone is away is left to the sweeps, not to delay others.
_PARKED_SECONDS = 30.0
# A connection tells of its commit before it commits: its rows are looked for again, for about a second.
LOOKS = 20
_LOOK_SECONDS = 0.05
# Under load, what is committed meanwhile goes together: a row alone takes ten times as much of the processor as one of
# twenty.
_GATHER_SECONDS = 0.02


class Agenda:
    """Of one sender; `events` are the names that are declared here, `grace` is in seconds, times are monotonic."""

    def __init__(self, events: Callable[[], Iterable[str]], grace: float) -> None:
        self._events = events
        self._grace = grace
        self._pending: dict[UUID, tuple[str, int]] = {}  # event, and how often a missing row is looked for again
        self._parked: dict[str, float] = {}
        self._failures = 0
        self._resume = 0.0
        self._sweeping = 0
        self._next_sweep = 0.0
        self._page: Page | None = None
        self._away: set[str] = set()

    @property
    def empty(self) -> bool:
        """Whether nothing that was committed here is still to be sent by this sender."""
        return not self._pending

    @property
    def sweeps(self) -> bool:
        """Whether it sweeps."""
        return self._sweeping > 0

    def offer(self, rows: Iterable[tuple[UUID, str]], now: float, looks: int = 0) -> None:
        """Send these events soon; `looks`: how often a row that is not there yet is looked for again."""
        for row_id, event in rows:
            if self._parked.get(event, 0.0) <= now and len(self._pending) < _MOST_PENDING:
                self._pending[row_id] = (event, looks)

    def begin_sweeps(self) -> None:
        """Sweep from now on, until `end_sweeps` is called as often."""
        self._sweeping += 1
        self._next_sweep = 0.0

    def end_sweeps(self) -> None:
        """Sweep no more."""
        self._sweeping -= 1

    def next(self, now: float) -> Selection | float | None:
        """What to send, or the seconds until there may be something; None: not until it is told of something."""
        if now < self._resume:
            return self._resume - now
        if self._pending:
            return Given(tuple(self._pending)[:BATCH])
        if not self._sweeping:
            return None
        if now < self._next_sweep:
            return self._next_sweep - now
        page = self._page
        after = None if page is None else page.after
        before = datetime.now(UTC) - timedelta(seconds=self._grace) if page is None else page.before
        self._page = Page(tuple(name for name in self._events() if name not in self._away), before, after)
        return self._page

    def done(self, selection: Selection, delivered: Delivered, now: float) -> None:
        """Note what became of a selection."""
        results = delivered.results
        progress = bool(results.sent or results.refused)
        if results.left and not progress:
            self.failed(now)
        else:
            self._failures = 0
        if isinstance(selection, Given):
            self._done_given(selection, delivered, now, progress)
        elif len(delivered.ids) < BATCH or (results.left and not progress):
            self._end_round(now)
        else:
            self._away |= set(results.left.values())
            self._page = Page(selection.events, selection.before, delivered.ids[-1])

    def failed(self, now: float) -> None:
        """Pause, longer each time: the server or the database is away."""
        self._failures += 1
        self._resume = now + retry_delay(self._failures, longest=_LONGEST_PAUSE)
        if self._page is not None:
            self._end_round(now)

    def _done_given(self, selection: Given, delivered: Delivered, now: float, progress: bool) -> None:
        there, left = set(delivered.ids), delivered.results.left
        if progress:
            self._parked |= dict.fromkeys(left.values(), now + _PARKED_SECONDS)
        missing = False
        for row_id in selection.ids:
            event, looks = self._pending.pop(row_id)
            if row_id in left and not progress:
                self._pending[row_id] = (event, looks)
            elif row_id not in there and looks:
                self._pending[row_id] = (event, looks - 1)
                missing = True
        pause = _LOOK_SECONDS if missing and not progress else _GATHER_SECONDS if len(selection.ids) < BATCH else 0.0
        self._resume = max(self._resume, now + pause)

    def _end_round(self, now: float) -> None:
        self._page = None
        self._away.clear()
        # Workers that have started together must not sweep together.
        self._next_sweep = now + self._grace / 2 * random.uniform(0.7, 1.0)  # noqa: S311 - keeps no secret
