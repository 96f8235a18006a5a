"""Counts the lifecycle signals in plain numbers, for exporters to read."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from oxherd.histogram import bucketed
from oxherd.signals import (
    EventBegan,
    EventEnded,
    EventExpired,
    EventsEmitted,
    LoopBlocked,
    LoopUnblocked,
    QueueFault,
    RedisFault,
    RedisRecovered,
    Signals,
    WorkerStarted,
)

# Upper bounds in seconds: a millisecond to ten minutes.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0)
_BOUNDS_MS = tuple(bound * 1000 for bound in BOUNDS)
OUTCOMES = ("completed", "retrying", "failed", "timed_out", "cancelled", "requeued", "discarded", "lost")
SOURCES = ("emit", "fetch", "finish", "lock", "stalled", "data", "sanitize", "schedule", "registry", "history")
# Begins are counted in batches of this size, together with the ends so far.
_BATCH = 128


def _buckets() -> list[int]:
    return [0] * (len(BOUNDS) + 1)


def _fill(buckets: list[int], values: list[float]) -> None:
    """Count values, in milliseconds, in the first bucket whose bound they do not exceed."""
    for bucket, count in bucketed(values, _BOUNDS_MS):
        buckets[bucket] += count


@dataclass(slots=True)
class EventTotals:
    """One event's totals. `durations` and `lags` are histograms by BOUNDS, with one more bucket above them."""

    emitted: int = 0
    expired: int = 0
    begun: int = 0
    ended: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    durations: list[int] = field(default_factory=_buckets)
    duration_seconds: float = 0.0
    lags: list[int] = field(default_factory=_buckets)
    lag_seconds: float = 0.0


class _Events(dict[str, EventTotals]):  # not a defaultdict, which `asdict` cannot copy
    def __missing__(self, name: str) -> EventTotals:
        event = self[name] = EventTotals()
        return event


@dataclass(slots=True)
class Totals:
    """Totals of a process, or of several; none ever falls."""

    events: dict[str, EventTotals] = field(default_factory=lambda: _Events())
    queue_errors: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SOURCES, 0))
    stalled: dict[str, int] = field(default_factory=dict[str, int])
    outages: dict[str, int] = field(default_factory=dict[str, int])
    outage_seconds: dict[str, float] = field(default_factory=dict[str, float])
    blocks: int = 0
    blocked_seconds: float = 0.0


class Counts:
    """Counts signals from any thread. `loop` is the one that processes events, once it does."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._totals = Totals()
        self._events = self._totals.events
        # What is not counted yet: less than _BATCH begins, and the ends of as many and of those that ran before.
        self._began: deque[tuple[str, float | None]] = deque()  # event, lag of a first attempt in ms
        self._ended: deque[EventEnded] = deque()

    def follow(self, signals: Signals) -> None:
        """Count signals from now on."""
        # These two come with each event, and are only queued.
        signals.subscribe(self._begin, EventBegan)
        signals.subscribe(self._ended.append, EventEnded)
        counters: dict[type[Any], Callable[[Any], None]] = {
            EventsEmitted: self._emitted,
            EventExpired: self._expired,
            QueueFault: self._queue_fault,
            RedisFault: self._redis_fault,
            RedisRecovered: self._recovered,
            WorkerStarted: self._started,
            LoopBlocked: self._blocked,
            LoopUnblocked: self._unblocked,
        }
        for kind, counter in counters.items():
            signals.subscribe(partial(self._locked, counter), kind)

    def _locked(self, counter: Callable[[Any], None], signal: Any) -> None:
        with self._lock:
            counter(signal)

    def _begin(self, signal: EventBegan) -> None:
        # Negative if the producer's clock is ahead.
        lag_ms = time.time() * 1000 - signal.due_ms if signal.attempt == 1 and signal.due_ms else None
        self._began.append((signal.event, lag_ms))
        if len(self._began) >= _BATCH:
            with self._lock:
                self._count_queued()

    def _count_queued(self) -> None:
        """Count the queued begins and ends: batched, that costs a third of counting each as it comes."""
        # Ends first: signals that arrive meanwhile must not count an end before its begin.
        ended: dict[str, list[EventEnded]] = defaultdict(list)
        for _ in range(len(self._ended)):
            end = self._ended.popleft()
            ended[end.event].append(end)
        began: dict[str, list[float | None]] = defaultdict(list)
        for _ in range(len(self._began)):
            name, lag_ms = self._began.popleft()
            began[name].append(lag_ms)
        for name, ends in ended.items():
            event = self._events[name]
            for outcome, count in Counter([end.outcome for end in ends]).items():
                event.ended[outcome] += count
            durations = [end.duration_ms for end in ends]
            event.duration_seconds += sum(durations) / 1000
            _fill(event.durations, durations)
        for name, begins in began.items():
            event = self._events[name]
            event.begun += len(begins)
            lags = [lag_ms for lag_ms in begins if lag_ms is not None]
            event.lag_seconds += sum([lag_ms for lag_ms in lags if lag_ms > 0]) / 1000
            _fill(event.lags, lags)

    def read(self, copy: Callable[[Totals], Any]) -> Any:
        """Return what `copy` makes of the totals, which do not change meanwhile."""
        with self._lock:
            self._count_queued()
            return copy(self._totals)

    def _emitted(self, signal: EventsEmitted) -> None:
        self._events[signal.event].emitted += signal.count

    def _expired(self, signal: EventExpired) -> None:
        self._events[signal.event].expired += 1

    def _queue_fault(self, signal: QueueFault) -> None:
        totals = self._totals
        totals.queue_errors[signal.source] = totals.queue_errors.get(signal.source, 0) + 1
        if signal.source == "stalled":
            totals.stalled[signal.queue] = totals.stalled.get(signal.queue, 0) + 1

    def _redis_fault(self, signal: RedisFault) -> None:
        self._totals.outages[signal.node] = self._totals.outages.get(signal.node, 0) + 1
        self._totals.outage_seconds.setdefault(signal.node, 0.0)

    def _recovered(self, signal: RedisRecovered) -> None:
        seconds = self._totals.outage_seconds
        seconds[signal.node] = seconds.get(signal.node, 0.0) + signal.outage_ms / 1000

    def _started(self, signal: WorkerStarted) -> None:
        self.loop = asyncio.get_running_loop()
        for name in signal.events:
            self._events[name]  # shown from now on, with zeros

    def _blocked(self, _: LoopBlocked) -> None:
        self._totals.blocks += 1

    def _unblocked(self, signal: LoopUnblocked) -> None:
        self._totals.blocked_seconds += signal.blocked_ms / 1000
