"""The metrics of OpenTelemetry; the counts are kept here and read when they are collected, which costs events less."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from opentelemetry import context as otel
from opentelemetry import metrics
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.trace import NonRecordingSpan

from oxherd.signals import EventEnded
from oxherd.telemetry.otel_kinds import LOOK_SECONDS, SCHEMA, error_of, measured
from oxherd.telemetry.otel_places import SPAN_KEY
from oxherd.telemetry.together import Together, call_each

# In seconds; the bounds that the semantic conventions advise.
_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_BOUNDS_MS: Final = tuple(1000 * bound for bound in _BOUNDS)

# For how many milliseconds it ran, the attributes under which that is counted, and what it is an example in.
_Run = tuple[float, dict[str, str], Context | None]


class Metrics:
    """What was sent and handled, by event and error."""

    def __init__(self, provider: metrics.MeterProvider | None, on_error: Callable[[BaseException], None]) -> None:
        meter = metrics.get_meter("oxherd", meter_provider=provider, schema_url=SCHEMA)
        self._sent, self._handled = _Counts("send"), _Counts("process")
        meter.create_observable_counter(
            "messaging.client.sent.messages", [self._sent.observe], "{message}", "Events that were to be sent."
        )
        meter.create_observable_counter(
            "messaging.client.consumed.messages", [self._handled.observe], "{message}", "Events given to a handler."
        )
        self._duration = meter.create_histogram(
            "messaging.process.duration", "s", "How long handlers ran.", explicit_bucket_boundaries_advisory=_BOUNDS
        )
        self._ended = Together(self._note)
        self._on_error = on_error
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

    def take(self, ended: EventEnded) -> None:
        """Note a run that has ended, in the context of which it is an example."""
        if self._is_recording():
            self._ended.add((ended, otel.get_current()))

    def _note(self, taken: list[tuple[EventEnded, Context]]) -> None:
        runs: list[_Run] = [
            (ended.duration_ms, self._handled.add(ended.event, error_of(ended), 1), context) for ended, context in taken
        ]
        call_each(self._record, _with_last_examples(runs), self._on_error)

    def _record(self, run: _Run) -> None:
        duration_ms, attributes, context = run
        self._duration.record(duration_ms / 1000, attributes, context)


def _with_last_examples(runs: list[_Run]) -> list[_Run]:
    """The runs, of which only the last of each bound whose trace is recorded has its context: the SDK keeps that as its
    example, and to be given one takes a fifth of a record's time."""
    kept: list[_Run] = []
    seen: set[tuple[int, int]] = set()
    for duration_ms, attributes, context in reversed(runs):
        bound = id(attributes), bisect_left(_BOUNDS_MS, duration_ms)
        is_example = context and bound not in seen and not isinstance(context.get(SPAN_KEY), NonRecordingSpan)
        if is_example:
            seen.add(bound)
        kept.append((duration_ms, attributes, context if is_example else None))
    return kept[::-1]


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
