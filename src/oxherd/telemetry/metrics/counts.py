"""Counts the lifecycle signals in plain numbers, which an exporter reads when it is asked."""

from __future__ import annotations

import asyncio
import threading
import time
from bisect import bisect_right
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from oxherd.signals import (
    EventBegan,
    EventEnded,
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
SOURCES = ("emit", "fetch", "finish", "lock", "stalled", "data", "sanitize", "schedule")
# So many begins are counted at once, with all the ends by then.
_TOGETHER = 128


def _buckets() -> list[int]:
    return [0] * (len(BOUNDS) + 1)


def _spread(values: list[float], buckets: list[int]) -> None:
    """Count each of the values, in milliseconds, in the bucket whose bound it does not exceed."""
    # Each bound is looked up among the values: of those there are more.
    values.sort()
    below = 0
    for bucket, bound in enumerate(_BOUNDS_MS):
        within = bisect_right(values, bound)
        buckets[bucket] += within - below
        below = within
    buckets[-1] += len(values) - below


@dataclass(slots=True)
class EventTotals:
    """What has happened to one event's; `durations` and `lags` count by the BOUNDS, the last what is above them."""

    emitted: int = 0
    begun: int = 0
    ended: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    durations: list[int] = field(default_factory=_buckets)
    duration_seconds: float = 0.0
    lags: list[int] = field(default_factory=_buckets)
    lag_seconds: float = 0.0


class _Events(dict[str, EventTotals]):
    def __missing__(self, name: str) -> EventTotals:
        event = self[name] = EventTotals()
        return event


@dataclass(slots=True)
class Totals:
    """What has happened since the start of a process, or of several together; none of it ever falls."""

    events: dict[str, EventTotals] = field(default_factory=lambda: _Events())
    queue_errors: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SOURCES, 0))
    stalled: dict[str, int] = field(default_factory=dict[str, int])
    outages: dict[str, int] = field(default_factory=dict[str, int])
    outage_seconds: dict[str, float] = field(default_factory=dict[str, float])
    blocks: int = 0
    blocked_seconds: float = 0.0


class Counts:
    """Takes the signals, from whatever threads they come. `loop` is the one that processes, once one does."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._totals = Totals()
        self._events = self._totals.events
        # What is not counted yet: less than _TOGETHER begins, and the ends of as many and of those that ran before.
        self._began: deque[tuple[str, float | None]] = deque()
        self._ended: deque[EventEnded] = deque()

    def follow(self, signals: Signals) -> None:
        """Count what is said from now on."""
        # The two that come with each event gather first.
        signals.subscribe(self._begin, EventBegan)
        signals.subscribe(self._ended.append, EventEnded)
        takers: dict[type[Any], Callable[[Any], None]] = {
            QueueFault: self._queue_fault,
            RedisFault: self._redis_fault,
            RedisRecovered: self._recovered,
            WorkerStarted: self._started,
            LoopBlocked: self._blocked,
            LoopUnblocked: self._unblocked,
        }
        for kind, taker in takers.items():
            signals.subscribe(partial(self._take, taker), kind)
        signals.subscribe_to_emits(partial(self._take, self._emitted))

    def _take(self, taker: Callable[[Any], None], signal: Any) -> None:
        with self._lock:
            taker(signal)

    def _begin(self, signal: EventBegan) -> None:
        # By two clocks: the producer's may be ahead.
        lag_ms = time.time() * 1000 - signal.due_ms if signal.attempt == 1 else None
        self._began.append((signal.event, lag_ms))
        if len(self._began) >= _TOGETHER:
            with self._lock:
                self._count()

    def _count(self) -> None:
        """Count what has gathered: in a loop of its own it takes a third of what it does in the midst of each event."""
        # The ends first: whatever comes meanwhile, none is counted before its begin.
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
            _spread(durations, event.durations)
        for name, begins in began.items():
            event = self._events[name]
            event.begun += len(begins)
            lags = [lag_ms for lag_ms in begins if lag_ms is not None]
            event.lag_seconds += sum([lag_ms for lag_ms in lags if lag_ms > 0]) / 1000
            _spread(lags, event.lags)

    def read(self, copy: Callable[[Totals], Any]) -> Any:
        """What `copy` makes of the totals, none of which changes meanwhile."""
        with self._lock:
            self._count()
            return copy(self._totals)

    def _emitted(self, signal: EventsEmitted) -> None:
        self._events[signal.event].emitted += signal.count

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
            self._events[name]  # from now on it is shown, with zeros

    def _blocked(self, _: LoopBlocked) -> None:
        self._totals.blocks += 1

    def _unblocked(self, signal: LoopUnblocked) -> None:
        self._totals.blocked_seconds += signal.blocked_ms / 1000
