"""How long handlers ran, as a histogram of OpenTelemetry's: which runs are its examples, and the others together."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.metrics import Histogram, Meter
from opentelemetry.trace import NonRecordingSpan

from oxherd.telemetry.otel_places import SPAN_KEY
from oxherd.telemetry.together import call_each

# In seconds; the bounds that the semantic conventions advise.
_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_BOUNDS_MS: Final = tuple(1000 * bound for bound in _BOUNDS)

# For how many milliseconds it ran, and the context that it ran in.
Run = tuple[float, Context]
Give = Callable[[dict[str, str], Sequence[float]], None]


class Durations:
    """`messaging.process.duration` of the semantic conventions."""

    def __init__(self, meter: Meter, on_error: Callable[[BaseException], None]) -> None:
        self._histogram = meter.create_histogram(
            "messaging.process.duration", "s", "How long handlers ran.", explicit_bucket_boundaries_advisory=_BOUNDS
        )
        self._on_error = on_error
        self._give: Give | None = None

    def note(self, attributes: dict[str, str], runs: list[Run]) -> None:
        """Record runs that have the same attributes, in the order in which they ended; there is an SDK by now."""
        give = self._give = self._give or _giver_of(self._histogram) or self._record_each
        examples, others = _parted(runs)
        call_each(lambda run: self._histogram.record(run[0] / 1000, attributes, run[1]), examples, self._on_error)
        if others:
            call_each(lambda seconds: give(attributes, seconds), [others], self._on_error)

    def _record_each(self, attributes: dict[str, str], seconds: Sequence[float]) -> None:
        call_each(lambda duration: self._histogram.record(duration, attributes), seconds, self._on_error)


def _parted(runs: list[Run]) -> tuple[list[Run], list[float]]:
    """The runs that are examples, and for how many seconds the others ran.

    An example is the last of each bound whose trace is recorded: the SDK keeps no other. To be given one takes a fifth
    of a record's time.
    """
    examples: list[Run] = []
    others: list[float] = []
    seen: set[int] = set()
    for run in reversed(runs):
        duration_ms, context = run
        is_recorded = context and not isinstance(context.get(SPAN_KEY), NonRecordingSpan)
        if is_recorded and (bound := bisect_left(_BOUNDS_MS, duration_ms)) not in seen:
            seen.add(bound)
            examples.append(run)
        else:
            others.append(duration_ms / 1000)
    return examples[::-1], others


def _giver_of(histogram: Histogram) -> Give | None:
    try:
        # Not at the top: the API alone may be installed, and an SDK may be another one inside than it was.
        from oxherd.telemetry.otel_histogram import giver_of
    except ImportError:
        return None
    return giver_of(histogram)
