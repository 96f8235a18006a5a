"""How long handlers ran, as a histogram of OpenTelemetry's: which runs are its examples, and the others together."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.metrics import Histogram, Meter
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, Span

from oxherd.telemetry.otel_places import SPAN_KEY
from oxherd.telemetry.together import call_each

# In seconds; the bounds that the semantic conventions advise.
_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
# An empty context would stand for the current one: that of the event after which others are recorded.
_IN_NONE: Final = Context({SPAN_KEY: INVALID_SPAN})

# For how many milliseconds it ran, and its span.
Run = tuple[float, Span]
# For how many seconds it ran, and the context that it is an example of.
Example = tuple[float, Context]
# Gives a histogram the seconds of runs of the same attributes: of those that are no examples, and of those that are.
Give = Callable[[dict[str, str], Sequence[float], Sequence[Example]], None]


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
        give = self._give = self._give or _giver_of(self._histogram, self._on_error) or self._record_each
        call_each(lambda parted: give(attributes, *parted), [_parted(runs)], self._on_error)

    def _record_each(self, attributes: dict[str, str], others: Sequence[float], examples: Sequence[Example]) -> None:
        call_each(lambda seconds: self._histogram.record(seconds, attributes, _IN_NONE), others, self._on_error)
        call_each(lambda example: self._histogram.record(example[0], attributes, example[1]), examples, self._on_error)


def _parted(runs: list[Run]) -> tuple[list[float], list[Example]]:
    """The seconds of the runs that are no examples, and those that are.

    An example is the last of each bound whose span is sampled: the SDK keeps no other.
    """
    others: list[float] = []
    examples: list[Example] = []
    seen: set[int] = set()
    for duration_ms, span in reversed(runs):
        seconds = duration_ms / 1000
        if (
            not isinstance(span, NonRecordingSpan)
            and (bound := bisect_left(_BOUNDS, seconds)) not in seen
            and span.get_span_context().trace_flags.sampled  # one may be recorded only
        ):
            seen.add(bound)
            examples.append((seconds, Context({SPAN_KEY: span})))
        else:
            others.append(seconds)
    return others, examples[::-1]


def _giver_of(histogram: Histogram, on_error: Callable[[BaseException], None]) -> Give | None:
    try:
        # Not at the top: the API alone may be installed, and an SDK may be another one inside than it was.
        from oxherd.telemetry.otel_histogram import giver_of
    except ImportError:
        return None
    return giver_of(histogram, on_error)
