"""The metrics of OpenTelemetry; the counts are kept here and read when they are collected, which costs events less."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final
from weakref import WeakKeyDictionary

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.trace import Span

from oxherd.signals import EventEnded
from oxherd.telemetry.otel_durations import Durations, Run
from oxherd.telemetry.otel_kinds import LOOK_SECONDS, SCHEMA, error_of, measured
from oxherd.telemetry.together import call_each

# So many runs are recorded at once. With an SDK that has to be told of each, more would hold the loop up for too long.
_TOGETHER: Final = 64
# Less wait for others for so long.
_WAIT_SECONDS: Final = 1.0


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
        # The loop that is going to record what has gathered by then.
        self._due: asyncio.AbstractEventLoop | None = None
        self._on_error = on_error
        # One of the API's own that was given may stand for the global one.
        self._is_sdk = not _of_api(provider)
        self._recording = False
        self._look_at = 0.0

    def _is_recording(self) -> bool:
        """Whether there is an SDK to read it: a global one may be set at any time, and is looked for each second."""
        if not self._recording and (now := time.monotonic()) >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            self._recording = self._is_sdk or not _of_api(metrics.get_meter_provider())
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
        """Note a run that has ended, of which that is the span; in a loop's thread, and it never raises."""
        if not (self._recording or self._is_recording()):
            return
        self._ended.append((ended, span))
        if len(self._ended) >= _TOGETHER:
            call_each(Metrics._record, [self], self._on_error)
        elif self._due is not (loop := asyncio.get_running_loop()):
            self._due = loop
            loop.call_later(_WAIT_SECONDS, self._on_due, context=contextvars.Context())

    def _on_due(self) -> None:
        self._due = None
        self._record()

    def _record(self) -> None:
        """Record what has gathered, from any thread: together it takes a third of what it takes event by event."""
        groups: dict[tuple[str, str | None], list[Run]] = {}
        for _ in range(len(self._ended)):
            try:
                ended, span = self._ended.popleft()
            except IndexError:  # another thread records the rest
                break
            # Before a call: it is nearly all of them.
            of = ended.event, None if ended.outcome == "completed" else error_of(ended)
            group = groups.get(of)
            if group is None:
                group = groups[of] = []
            group.append((ended.duration_ms, span))
        for (event, error), runs in groups.items():
            self._durations.note(self._handled.add(event, error, len(runs)), runs)

    def _observe_handled(self, options: CallbackOptions) -> Iterable[Observation]:
        # Asked before the durations are collected: these are then of as many, but for what is just being recorded.
        self._record()
        return self._handled.observe(options)


# Stands for the global provider, whether or not it has been set up by then.
_GLOBAL: Final = metrics.NoOpMeterProvider()
# Of two instruments of one name in a provider the SDK calls back the first one's only.
_SHARED: Final[WeakKeyDictionary[metrics.MeterProvider, Metrics]] = WeakKeyDictionary()


def metrics_of(provider: metrics.MeterProvider | None, on_error: Callable[[BaseException], None]) -> Metrics:
    """The metrics of all herds that use one provider."""
    key = _GLOBAL if provider is None else provider
    found = _SHARED.get(key)
    if found is None:
        found = _SHARED[key] = Metrics(provider, on_error)
    return found


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
