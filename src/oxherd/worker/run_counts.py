"""Counts a worker's runs for the history: a begin and an end each add to a list, which is added up in batches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from time import monotonic, time

from oxherd.bullmq.history import BEGUN, EXPIRED, OUTCOMES, RAN, RAN_MS, WAITED, WAITED_MS, Counted, Figures
from oxherd.histogram import bucketed

# Times are added up in batches of so many.
_BATCH = 128
# What cannot be written is kept for an hour: figures of so many steps of so many seconds.
_STEP_SECONDS = 30.0
_MOST_STEPS = 120


class EventCounts:
    """What was counted of one event; `figures` returns those of now, to which it is added up."""

    __slots__ = ("_begun", "_figures", "_ran", "_waits")

    def __init__(self, figures: Callable[[], Figures]) -> None:
        self._figures = figures
        self._begun = 0
        self._waits: list[float] = []
        self._ran: dict[str, list[float]] = {outcome: [] for outcome in OUTCOMES}

    def began(self, due_ms: int) -> None:
        """Count a begin; `due_ms`: when a first attempt could have begun, 0 for another."""
        self._begun += 1
        if due_ms:
            self._waits.append(time() * 1000 - due_ms)
            if len(self._waits) >= _BATCH:
                self.add_up()

    def ended(self, outcome: str, ran_ms: float) -> None:
        """Count the end of a run."""
        times = self._ran[outcome]
        times.append(ran_ms)
        if len(times) >= _BATCH:
            self.add_up()

    def expired(self) -> None:
        """Count an event that is dropped before it begins."""
        _add(self._figures(), EXPIRED, 1)

    def failed(self) -> None:
        """Count an event that fails without having begun."""
        _add(self._figures(), OUTCOMES["failed"], 1)

    def add_up(self) -> None:
        """Add what was counted to the figures of now."""
        if self._begun:
            waits, self._waits = self._waits, []
            _add(self._figures(), BEGUN, self._begun)
            self._begun = 0
            _add_times(self._figures(), WAITED_MS, WAITED, waits)
        for outcome, times in self._ran.items():
            if times:
                _add(self._figures(), OUTCOMES[outcome], len(times))
                _add_times(self._figures(), RAN_MS, RAN, times)
                times.clear()


class RunCounts(dict[str, EventCounts]):
    """The counts of a worker's events, by name, since they were taken; their space is bounded."""

    def __init__(self) -> None:
        super().__init__()
        self._steps: dict[int, _Step] = {}

    def __missing__(self, event: str) -> EventCounts:
        counts = self[event] = EventCounts(lambda: self._step().events[event])
        return counts

    def take(self, most: int) -> list[Counted]:
        """Take what was counted, the oldest first: whole steps, of at least `most` rows in all if there are so many."""
        for counts in self.values():
            counts.add_up()
        now = monotonic()
        taken: list[Counted] = []
        while self._steps and len(taken) < most:
            step = self._steps.pop(next(iter(self._steps)))
            age_ms = round((now - step.since) * 1000)
            taken += [Counted(age_ms, event, figures) for event, figures in step.events.items()]
        return taken

    def _step(self) -> _Step:
        now = monotonic()
        number = int(now / _STEP_SECONDS)
        step = self._steps.get(number)
        if step is None:
            step = self._steps[number] = _Step(now)
            if len(self._steps) > _MOST_STEPS:
                del self._steps[next(iter(self._steps))]
        return step


class _Step:
    """What was counted from `since` on, by `time.monotonic()`."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.events: defaultdict[str, Figures] = defaultdict(dict)


def _add(figures: Figures, number: int, value: float) -> None:
    figures[number] = figures.get(number, 0) + value


def _add_times(figures: Figures, total: int, first_bucket: int, times: list[float]) -> None:
    # Negative if the producer's clock is ahead.
    _add(figures, total, max(0.0, sum(times)))
    for bucket, count in bucketed(times):
        _add(figures, first_bucket + bucket, count)
