"""Counts a worker's runs for the history: one entry of a list for each begin and end, added up in batches."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator

from oxherd.bullmq.history import BEGUN, EXPIRED, OUTCOMES, RAN, RAN_MS, WAITED, WAITED_MS, Counted, Figures
from oxherd.histogram import bucketed

# Entries are added up in batches of so many.
_BATCH = 128
# While they cannot be written, for an hour at most: figures of this many steps of so many seconds.
_STEP_SECONDS = 30.0
_MOST_STEPS = 120


class _Step:
    """What was counted from `since` on, by `time.monotonic()`."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.events: defaultdict[str, Figures] = defaultdict(dict)


class RunCounts:
    """What the event loop of a worker has counted of its events since it was taken, in a bounded space."""

    def __init__(self) -> None:
        self._began: list[tuple[str, float | None]] = []  # event, how long a first attempt waited, in milliseconds
        self._ended: list[tuple[str, str, float]] = []  # event, outcome, how long it ran
        self._steps: dict[int, _Step] = {}

    def began(self, event: str, due_ms: int) -> None:
        """Count a begin; `due_ms`: when a first attempt could have begun, 0 for another."""
        self._began.append((event, time.time() * 1000 - due_ms if due_ms else None))
        if len(self._began) >= _BATCH:
            self._add_up()

    def ended(self, event: str, outcome: str, ran_ms: float) -> None:
        """Count the end of a run."""
        self._ended.append((event, outcome, ran_ms))

    def expired(self, event: str) -> None:
        """Count an event that is dropped before it begins."""
        _add(self._step().events[event], EXPIRED, 1)

    def failed(self, event: str) -> None:
        """Count an event that fails without having begun."""
        _add(self._step().events[event], OUTCOMES["failed"], 1)

    def take(self, most: int) -> list[Counted]:
        """Take what was counted, the oldest first: whole steps, of at least `most` rows in all if there are so many."""
        self._add_up()
        now = time.monotonic()
        taken: list[Counted] = []
        while self._steps and len(taken) < most:
            step = self._steps.pop(next(iter(self._steps)))
            age_ms = round((now - step.since) * 1000)
            taken += [Counted(age_ms, event, figures) for event, figures in step.events.items()]
        return taken

    def _step(self) -> _Step:
        now = time.monotonic()
        number = int(now / _STEP_SECONDS)
        step = self._steps.get(number)
        if step is None:
            step = self._steps[number] = _Step(now)
            if len(self._steps) > _MOST_STEPS:
                del self._steps[next(iter(self._steps))]
        return step

    def _add_up(self) -> None:
        if not self._began and not self._ended:
            return
        events = self._step().events
        began, self._began = self._began, []
        ended, self._ended = self._ended, []
        for event, waits in _by_event(began):
            figures = events[event]
            _add(figures, BEGUN, len(waits))
            # Negative if the producer's clock is ahead.
            _add_times(figures, WAITED_MS, WAITED, [max(0.0, wait) for wait in waits if wait is not None])
        ran: defaultdict[str, list[float]] = defaultdict(list)
        for event, outcome, ran_ms in ended:
            _add(events[event], OUTCOMES[outcome], 1)
            ran[event].append(ran_ms)
        for event, times in ran.items():
            _add_times(events[event], RAN_MS, RAN, times)


def _by_event(began: list[tuple[str, float | None]]) -> Iterator[tuple[str, list[float | None]]]:
    waits: defaultdict[str, list[float | None]] = defaultdict(list)
    for event, wait in began:
        waits[event].append(wait)
    yield from waits.items()


def _add(figures: Figures, number: int, value: float) -> None:
    figures[number] = figures.get(number, 0) + value


def _add_times(figures: Figures, total: int, first_bucket: int, times: list[float]) -> None:
    if times:
        _add(figures, total, sum(times))
        for bucket, count in bucketed(times):
            _add(figures, first_bucket + bucket, count)
