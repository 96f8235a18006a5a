"""Many values for a histogram of OpenTelemetry's SDK at once, for which it has no call.

`record` cleans and hashes the attributes of each value, and takes 2.4 times as long in version 1.45 as in 1.44. Here
they are hashed once, and the values go to the aggregations that `record` would give them to, by names that are private
to the SDK: only in the versions in which both ways have been compared.
"""

# pyright: reportPrivateUsage=false
from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from time import time_ns
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.metrics import Histogram
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, TraceBasedExemplarFilter
from opentelemetry.sdk.metrics import Histogram as OfSDK
from opentelemetry.sdk.metrics._internal._view_instrument_match import _hash_attributes
from opentelemetry.sdk.version import __version__ as version

from oxherd.telemetry.together import call_each

_COMPARED: Final = ("1.45.2",)  # 1.45.0 and 1.45.1 are others inside
# Those that make no example of what was measured in no trace.
_FILTERS: Final = (TraceBasedExemplarFilter, AlwaysOffExemplarFilter)
# Values of the same attributes: those in no trace, and those with their contexts.
Give = Callable[[dict[str, str], Sequence[float], Sequence[tuple[float, Context]]], None]


class _Measurement:
    """What aggregations read; one for many values, one after the other."""

    def __init__(self, instrument: OfSDK, attributes: dict[str, str]) -> None:
        self.value = 0.0
        self.time_unix_nano = time_ns()
        self.instrument = instrument
        self.context = Context()
        self.attributes = attributes


def giver_of(histogram: Histogram, on_error: Callable[[BaseException], None]) -> Give | None:
    """What gives a histogram many values of the same attributes; None where each is to be recorded.

    `on_error` is told what a reservoir of the user's raises.
    """
    inside: object = getattr(histogram, "_real_instrument", None) or histogram  # of a provider that came later
    if not isinstance(inside, OfSDK) or version not in _COMPARED:
        return None
    consumer: Any = inside._measurement_consumer
    return partial(_give, inside, on_error) if type(consumer._sdk_config.exemplar_filter) in _FILTERS else None


def _give(
    histogram: OfSDK,
    on_error: Callable[[BaseException], None],
    attributes: dict[str, str],
    values: Sequence[float],
    examples: Sequence[tuple[float, Context]],
) -> None:
    if not histogram._is_enabled():
        return
    consumer: Any = histogram._measurement_consumer
    measurement = _Measurement(histogram, attributes)
    asked: Callable[..., bool] = consumer._sdk_config.exemplar_filter.should_sample
    each = [(*example, asked(example[0], measurement.time_unix_nano, attributes, example[1])) for example in examples]
    for storage in consumer._reader_storages.values():
        for match in storage._get_or_init_view_instrument_match(histogram):
            _aggregate(match, measurement, values, each, on_error)


def _aggregate(
    match: Any,
    measurement: _Measurement,
    values: Sequence[float],
    examples: list[tuple[float, Context, bool]],
    on_error: Callable[[BaseException], None],
) -> None:
    """Give one stream of the histogram the values, as its `consume_measurement` does one."""
    attributes, kept = dict(measurement.attributes), match._view._attribute_keys
    if kept is not None:
        attributes = {key: value for key, value in attributes.items() if key in kept}
    key = _hash_attributes(attributes)
    with match._lock:  # for as long: a collection may drop the aggregation
        aggregate = match._get_or_create_aggregation(key, attributes).aggregate
        for measurement.value in values:
            aggregate(measurement, False)
        for measurement.value, measurement.context, sampled in examples:
            # It counts the value before it offers the example.
            call_each(partial(aggregate, measurement), [sampled], on_error)
