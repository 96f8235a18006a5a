"""OpenTelemetry's metrics where an SDK comes late, or never. It is set up once in a process: each test has its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import INVALID_SPAN

from oxherd.signals import EventEnded
from oxherd.telemetry.otel_metrics import Metrics, metrics_of
from tests.harness import until


class Always(Sampler):
    def __init__(self, decision: Decision) -> None:
        self._decision = decision

    def should_sample(self, *_: Any, **__: Any) -> SamplingResult:
        return SamplingResult(self._decision)

    def get_description(self) -> str:
        return "always"


TRACERS = {decision: TracerProvider(Always(decision), shutdown_on_exit=False).get_tracer("") for decision in Decision}
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)

BEFORE = """
import asyncio, time
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.trace import INVALID_SPAN
from oxherd.signals import EventEnded
from oxherd.telemetry.otel_metrics import Metrics

def raise_it(error):
    raise error

def tell(ours, times=1):
    for number in range(times):
        ours.take(EventEnded("x", "id", 1, 1, "completed", 2.0), INVALID_SPAN)
        ours.sent("x", 1, [])

def points(reader):
    data = reader.get_metrics_data()
    found = [] if data is None else data.resource_metrics[0].scope_metrics[0].metrics
    return {metric.name: metric.data.data_points[0] for metric in found if metric.data.data_points}

async def main():
"""


def raise_it(error: BaseException) -> None:
    raise error


def run(script: str) -> str:
    program = BEFORE + "".join(f"    {line}\n" for line in script.strip().splitlines()) + "\nasyncio.run(main())\n"
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout.strip()


@pytest.mark.parametrize("given", ["None", "metrics.get_meter_provider()"])
def test_without_an_sdk_nothing_is_kept_and_one_that_is_set_up_later_is_found_within_seconds(given: str) -> None:
    said = run(
        f"ours = Metrics({given}, raise_it)"
        + """
reader = InMemoryMetricReader()
tell(ours, 1000)
metrics.set_meter_provider(MeterProvider([reader]))
over = time.monotonic() + 20
while time.monotonic() < over and "messaging.process.duration" not in points(reader):
    tell(ours)
    await asyncio.sleep(0.01)
before = points(reader)
tell(ours, 5)
after = points(reader)
duration, sent, handled = ("messaging.process.duration", "messaging.client.sent.messages",
                           "messaging.client.consumed.messages")
print(before[handled].value < 1000, after[handled].value - before[handled].value)
print(after[sent].value - before[sent].value, after[duration].count - before[duration].count)
"""
    )
    assert said.split() == ["True", "5", "5", "5"]


def test_an_sdk_that_is_there_before_the_first_event_hears_of_the_first() -> None:
    said = run("""
ours, reader = Metrics(None, raise_it), InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
tell(ours, 3)
print(points(reader)["messaging.process.duration"].count, points(reader)["messaging.client.sent.messages"].value)
""")
    assert said.split() == ["3", "3"]


def test_herds_that_use_the_global_provider_are_counted_together_though_it_is_set_up_in_between() -> None:
    said = run("""
from oxherd.telemetry.otel_metrics import metrics_of
reader = InMemoryMetricReader()
before = metrics_of(None, raise_it)
metrics.set_meter_provider(MeterProvider([reader]))
for ours in (before, metrics_of(None, raise_it)):
    tell(ours, 3)
found = points(reader)
print(found["messaging.process.duration"].count, found["messaging.client.sent.messages"].value)
""")
    assert said.split() == ["6", "6"]


@given(st.lists(st.tuples(st.sampled_from([1.0, 4.0, 5.0, 60.0, 20_000.0]), st.sampled_from(Decision)), max_size=150))
def test_examples_are_those_that_the_sdk_keeps_of_all(runs: list[tuple[float, Decision]]) -> None:
    ours, theirs = InMemoryMetricReader(), InMemoryMetricReader()
    meters = Metrics(MeterProvider([ours], shutdown_on_exit=False), raise_it)
    meter = MeterProvider([theirs], shutdown_on_exit=False).get_meter("theirs")
    histogram = meter.create_histogram("messaging.process.duration", explicit_bucket_boundaries_advisory=BOUNDS)

    async def tell() -> None:
        for duration_ms, decision in runs:
            span = TRACERS[decision].start_span("")
            meters.take(EventEnded("x", "id", 1, 1, "completed", duration_ms), span)
            histogram.record(duration_ms / 1000, {}, trace.set_span_in_context(span, Context()))

    asyncio.run(tell())
    assert _examples(ours) == _examples(theirs)


def _examples(reader: InMemoryMetricReader) -> list[tuple[float, int]]:
    data: Any = reader.get_metrics_data()
    metrics: list[Any] = (
        [] if data is None else json.loads(data.to_json())["resource_metrics"][0]["scope_metrics"][0]["metrics"]
    )
    durations = [metric for metric in metrics if metric["name"] == "messaging.process.duration"]
    points = [point for metric in durations for point in metric["data"]["data_points"]]
    return [(example["value"], example["span_id"]) for point in points for example in point["exemplars"]]


def ended(number: int = 0) -> EventEnded:
    return EventEnded("x", str(number), 1, 1, "completed", 2.0)


def _durations(reader: InMemoryMetricReader) -> int:
    """How many durations there are, as of the last collection: this is one."""
    data: Any = reader.get_metrics_data()
    metrics: list[Any] = [] if data is None else data.resource_metrics[0].scope_metrics[0].metrics
    durations = [metric.data for metric in metrics if metric.name == "messaging.process.duration"]
    return sum(point.count for data in durations for point in data.data_points)


async def test_sixty_four_are_recorded_at_once_and_less_after_a_second() -> None:
    recorded: list[int] = []
    meters = Metrics(MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False), raise_it)
    meters._durations.note = lambda _, runs: recorded.append(len(runs))  # type: ignore[method-assign]  # pyright: ignore[reportPrivateUsage]
    for number in range(70):
        assert recorded == ([64] if number >= 64 else [])
        meters.take(ended(number), INVALID_SPAN)
    await until(lambda: recorded == [64, 6])


async def test_herds_that_use_one_provider_are_counted_together() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    one, other = metrics_of(provider, raise_it), metrics_of(provider, raise_it)
    one.take(ended(), INVALID_SPAN)
    other.take(ended(), INVALID_SPAN)
    other.sent("x", 3, [])
    assert _durations(reader) == 2
    data: Any = reader.get_metrics_data()
    found = {metric.name: metric.data.data_points[0] for metric in data.resource_metrics[0].scope_metrics[0].metrics}
    assert found["messaging.client.consumed.messages"].value == 2
    assert found["messaging.client.sent.messages"].value == 3


def test_none_is_lost_while_other_threads_take_and_collect() -> None:
    reader, errors = InMemoryMetricReader(), list[BaseException]()
    meters, over = Metrics(MeterProvider([reader], shutdown_on_exit=False), errors.append), threading.Event()

    async def take() -> None:
        for number in range(4_000):
            meters.take(ended(number), INVALID_SPAN)

    def collect() -> None:
        while not over.is_set():
            reader.get_metrics_data()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=asyncio.run, args=(take(),)) for _ in range(2)]
        collecting = threading.Thread(target=collect)
        for thread in (*threads, collecting):
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
        over.set()
    collecting.join()
    assert (_durations(reader), errors) == (8_000, [])


async def test_where_each_may_be_an_example_each_is_recorded_in_its_own_context() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False, exemplar_filter=AlwaysOnExemplarFilter())
    meters, tracer = Metrics(provider, raise_it), TRACERS[Decision.RECORD_AND_SAMPLE]
    sampled = tracer.start_span("")
    with trace.use_span(tracer.start_span("around")):
        for span in (INVALID_SPAN, sampled, INVALID_SPAN):
            meters.take(ended(), span)
        assert _examples(reader) == [(0.002, sampled.get_span_context().span_id)]
        for _ in range(2):
            meters.take(ended(), INVALID_SPAN)
        assert [span_id for _, span_id in _examples(reader)] in ([], [None])
    assert _durations(reader) == 5
