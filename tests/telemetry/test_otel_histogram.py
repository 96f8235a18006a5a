"""Many durations at once are to OpenTelemetry's SDK what each of them recorded would be."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.metrics import Histogram, NoOpMeterProvider
from opentelemetry.sdk.metrics import (
    AlignedHistogramBucketExemplarReservoir,
    AlwaysOffExemplarFilter,
    AlwaysOnExemplarFilter,
    ExemplarFilter,
    MeterProvider,
    TraceBasedExemplarFilter,
)
from opentelemetry.sdk.metrics import Histogram as OfSDK
from opentelemetry.sdk.metrics._internal import _disable_meter_configurator  # pyright: ignore[reportPrivateUsage]
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import (
    DropAggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    SumAggregation,
    View,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.trace import INVALID_SPAN, set_span_in_context

from oxherd.telemetry import otel_histogram
from oxherd.telemetry.otel_histogram import Give, giver_of


def view(**arguments: Any) -> View:
    return View(instrument_name="d", **arguments)


def last_of_each(_: Any) -> Any:
    """Keeps the last example of each bound; others' reservoirs keep any."""

    def reservoir(**_: Any) -> AlignedHistogramBucketExemplarReservoir:
        return AlignedHistogramBucketExemplarReservoir((1, 2))

    return reservoir


VIEWS = st.sampled_from(
    [
        [],
        [view(attribute_keys={"event"})],
        [view(attribute_keys=set())],
        [view(aggregation=ExponentialBucketHistogramAggregation(), exemplar_reservoir_factory=last_of_each)],
        [view(aggregation=ExplicitBucketHistogramAggregation([1, 2], record_min_max=False))],
        [view(aggregation=SumAggregation(), exemplar_reservoir_factory=last_of_each)],
        [view(aggregation=DropAggregation())],
        [view(name="e", attribute_keys={"error"}), view(name="f")],
        [view(aggregation_cardinality_limit=2)],
    ]
)
TEMPORALITIES = st.sampled_from([AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA])
FILTERS = st.sampled_from([TraceBasedExemplarFilter(), AlwaysOffExemplarFilter()])
ATTRIBUTES = [{"event": event, "error": error} for event in "ab" for error in ("", "ValueError")]
# What ends in one turn, by its attributes; None: what there is so far is collected. Binary fractions have exact sums.
VALUES = st.lists(st.integers(0, 200).map(lambda number: number / 64), min_size=1, max_size=6)
# In a trace that is recorded, and in one that is not.
PLACES = [
    set_span_in_context(TracerProvider(sampler, shutdown_on_exit=False).get_tracer("").start_span(""), Context())
    for sampler in (ALWAYS_ON, ALWAYS_OFF)
]
NOWHERE = set_span_in_context(INVALID_SPAN)
EXAMPLES = st.lists(st.tuples(VALUES.map(max), st.sampled_from(PLACES)), max_size=3)
TURNS = st.lists(st.none() | st.tuples(st.sampled_from(ATTRIBUTES), VALUES, EXAMPLES), max_size=12)
Turn = tuple[dict[str, str], list[float], list[tuple[float, Context]]] | None


class Meters:
    """A provider of its own, read by two."""

    def __init__(
        self,
        temporality: AggregationTemporality = AggregationTemporality.CUMULATIVE,
        views: Sequence[View] = (),
        examples: ExemplarFilter | None = None,
    ) -> None:
        self.readers = [InMemoryMetricReader({OfSDK: temporality}), InMemoryMetricReader()]
        self.provider = MeterProvider(self.readers, views=views, exemplar_filter=examples, shutdown_on_exit=False)
        meter = self.provider.get_meter("x")
        self.histogram = meter.create_histogram("d", explicit_bucket_boundaries_advisory=[0.5, 1, 2])

    def collected(self) -> list[Any]:
        """What its readers read, but for the times."""
        read = [reader.get_metrics_data() for reader in self.readers]
        return [None if data is None else _timeless(json.loads(data.to_json())) for data in read]


def _timeless(data: Any) -> Any:
    if isinstance(data, list):
        return [_timeless(each) for each in cast("list[Any]", data)]
    if not isinstance(data, dict):
        return data
    return {key: _timeless(value) for key, value in cast("dict[str, Any]", data).items() if "time_unix" not in key}


def raise_it(error: BaseException) -> None:
    raise error


def give_to(histogram: Histogram) -> Give:
    give = giver_of(histogram, raise_it)
    assert give is not None, "with the installed SDK both ways have not been compared: add its version where they agree"
    return give


@settings(max_examples=400, deadline=None)
@given(TEMPORALITIES, VIEWS, FILTERS, TURNS)
def test_many_at_once_are_read_as_each_of_them(
    temporality: AggregationTemporality, views: list[View], which: ExemplarFilter, turns: list[Turn]
) -> None:
    one_by_one, together = (Meters(temporality, views, which) for _ in range(2))
    give = give_to(together.histogram)
    for turn in [*turns, None]:
        if turn is None:
            assert together.collected() == one_by_one.collected()
            continue
        attributes, values, examples = turn
        give(attributes, values, examples)
        for value in values:
            one_by_one.histogram.record(value, attributes, NOWHERE)
        for value, within in examples:
            one_by_one.histogram.record(value, attributes, within)


def test_a_meter_that_is_disabled_is_given_none() -> None:
    meters = Meters()
    give = give_to(meters.histogram)
    give(ATTRIBUTES[0], [1.0, 2.0], [])
    before = meters.collected()
    meters.provider._set_meter_configurator(meter_configurator=_disable_meter_configurator)  # pyright: ignore[reportPrivateUsage]
    give(ATTRIBUTES[0], [1.0, 2.0], [])
    assert meters.collected() == before
    assert before != [None, None]


def test_none_is_lost_while_another_thread_collects_what_changed() -> None:
    meters = Meters(AggregationTemporality.DELTA)
    give, over, counts = give_to(meters.histogram), threading.Event(), list[int]()

    def collect() -> None:
        while not over.is_set():
            counts.append(_count(meters.readers[0]))

    thread = threading.Thread(target=collect)
    thread.start()
    for _ in range(2000):
        give(ATTRIBUTES[0], [1.0, 2.0, 3.0], [])
    over.set()
    thread.join()
    assert sum(counts) + _count(meters.readers[0]) == 6000
    assert sum(map(bool, counts)) > 1


def _count(reader: InMemoryMetricReader) -> int:
    data: Any = reader.get_metrics_data()
    return 0 if data is None else data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points[0].count


@pytest.mark.parametrize("version", ["1.44.0", "1.45.1", "1.45.20"])
def test_an_sdk_that_may_be_another_one_inside_is_told_of_each(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(otel_histogram, "version", version)
    assert giver_of(Meters().histogram, raise_it) is None


def test_where_each_may_be_an_example_each_is_told() -> None:
    assert giver_of(Meters(examples=AlwaysOnExemplarFilter()).histogram, raise_it) is None


def test_a_histogram_that_is_not_the_sdk_s_is_told_of_each() -> None:
    assert giver_of(NoOpMeterProvider().get_meter("x").create_histogram("d"), raise_it) is None


class Raising(AlignedHistogramBucketExemplarReservoir):
    def offer(self, value: float, time_unix_nano: int, attributes: Any, context: Context) -> None:
        raise ValueError(str(value))


def raising(_: Any) -> Any:
    def reservoir(**_: Any) -> Raising:
        return Raising((1, 2))

    return reservoir


def test_a_reservoir_that_raises_keeps_no_other_value_from_being_counted() -> None:
    views = [view(exemplar_reservoir_factory=raising), view(name="e")]  # pyright: ignore[reportUnknownLambdaType]
    meters, errors = Meters(views=views), list[BaseException]()
    give = giver_of(meters.histogram, errors.append)
    assert give is not None
    give(ATTRIBUTES[0], [1.0, 2.0], [(0.5, PLACES[0]), (3.0, PLACES[0])])
    for reader in meters.readers:
        data: Any = reader.get_metrics_data()
        found = data.resource_metrics[0].scope_metrics[0].metrics
        assert [metric.data.data_points[0].count for metric in found] == [4, 4]
    assert [str(error) for error in errors] == ["0.5", "3.0"] * 2
