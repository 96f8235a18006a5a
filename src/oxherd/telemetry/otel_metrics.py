"""The metrics of OpenTelemetry; the counts are kept here and read when they are collected, which costs events less."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.trace import Span

from oxherd.signals import EventEnded
from oxherd.telemetry.otel_durations import Durations, Run
from oxherd.telemetry.otel_kinds import LOOK_SECONDS, SCHEMA, error_of, measured

# So many runs are recorded at once. With an SDK that has to be told of each, more would hold the loop up for too long.
_TOGETHER: Final = 64


class Metrics:
    """What was sent and handled, by event and error."""

    def __init__(self, provider: metrics.MeterProvider | None, on_error: Callable[[BaseException], None]) -> None:
        meter = metrics.get_meter("oxherd", meter_provider=provider, schema_url=SCHEMA)
        self._sent, self._handled = _Counts("send"), _Counts("process")
        meter.create_observable_counter(
            "messaging.client.sent.messages", [self._sent.observe], "{message}", "Events that were to be sent."
        )
        meter.create_observable_counter(
            "messaging.client.consumed.messages", [self._observe_handled], "{message}", "Events given to a handler."
        )
        self._durations = Durations(meter, on_error)
        # Less than _TOGETHER, each with the span that it is an example for; from whatever thread.
        self._ended: deque[tuple[EventEnded, Span]] = deque()
        self._provider = provider
        self._recording = False
        self._look_at = 0.0

    def _is_recording(self) -> bool:
        """Whether there is an SDK to read it: a global one may be set at any time, and is looked for each second."""
        if not self._recording and (now := time.monotonic()) >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            # One of the API's own that was given may stand for the global one.
            self._recording = not _of_api(self._provider) or not _of_api(metrics.get_meter_provider())
        return self._recording

    def sent(self, event: str, count: int, failures: Sequence[BaseException]) -> None:
        """Note what was acknowledged, and why the others were not."""
        if not self._is_recording():
            return
        if count:
            self._sent.add(event, None, count)
        for error in failures:
            self._sent.add(event, type(error).__name__, 1)

    def take(self, ended: EventEnded, span: Span) -> None:
        """Note a run that has ended, of which that is the span."""
        if self._recording or self._is_recording():
            self._ended.append((ended, span))
            if len(self._ended) >= _TOGETHER:
                self._record()

    def _record(self) -> None:
        """Record what has gathered, from any thread: together it takes a third of what it takes event by event."""
        groups: dict[tuple[str, str | None], list[Run]] = {}
        for _ in range(len(self._ended)):
            ended, span = self._ended.popleft()
            # Before a call: it is nearly all of them.
            of = ended.event, None if ended.outcome == "completed" else error_of(ended)
            group = groups.get(of)
            if group is None:
                group = groups[of] = []
            group.append((ended.duration_ms, span))
        for (event, error), runs in groups.items():
            self._durations.note(self._handled.add(event, error, len(runs)), runs)

    def _observe_handled(self, options: CallbackOptions) -> Iterable[Observation]:
        # Asked before the durations are collected, which then are those of as many.
        self._record()
        return self._handled.observe(options)


def _of_api(provider: metrics.MeterProvider | None) -> bool:
    """Whether it is none, or one of the API's own, which record nothing themselves."""
    return provider is None or f"{type(provider).__module__}.".startswith(f"{metrics.__name__}.")


class _Counts:
    """One operation's numbers of events."""

    def __init__(self, operation: str) -> None:
        self._operation = operation
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str | None], tuple[dict[str, str], list[int]]] = {}

    def add(self, event: str, error: str | None, count: int) -> dict[str, str]:
        """Count, and answer the attributes under which it is counted."""
        with self._lock:
            found = self._counts.get((event, error))
            if found is None:
                found = self._counts[event, error] = (measured(self._operation, event, error), [0])
            found[1][0] += count
            return found[0]

    def observe(self, _: CallbackOptions) -> Iterable[Observation]:
        """The numbers by now."""
        with self._lock:
            return [Observation(count[0], attributes) for attributes, count in self._counts.values()]
