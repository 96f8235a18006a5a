"""The metrics of OpenTelemetry; the counts are kept here and read when they are collected, which costs events less."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence

from opentelemetry import context as otel
from opentelemetry import metrics
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Observation

from oxherd.signals import EventEnded
from oxherd.telemetry.otel_durations import Durations, Run
from oxherd.telemetry.otel_kinds import LOOK_SECONDS, SCHEMA, error_of, measured
from oxherd.telemetry.together import Together


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
        self._durations = Durations(meter, on_error)
        self._ended = Together(self._note)
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
        if self._recording or self._is_recording():
            self._ended.add((ended, otel.get_current()))

    def _note(self, taken: list[tuple[EventEnded, Context]]) -> None:
        groups: dict[tuple[str, str | None], list[Run]] = {}
        for ended, within in taken:
            # Before a call: it is nearly all of them.
            of = ended.event, None if ended.outcome == "completed" else error_of(ended)
            group = groups.get(of)
            if group is None:
                group = groups[of] = []
            group.append((ended.duration_ms, within))
        for (event, error), runs in groups.items():
            self._durations.note(self._handled.add(event, error, len(runs)), runs)


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
