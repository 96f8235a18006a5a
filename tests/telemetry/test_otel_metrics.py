"""Metrics as the SDK gets them, also where it comes late or serves several herds."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any, cast

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.trace import StatusCode

from oxherd import EmitError, Oxherd, Retry
from oxherd.telemetry.opentelemetry import Traces
from tests.harness import Records, environment, until
from tests.telemetry.otel import Collected, Order, context_of


def points(reader: InMemoryMetricReader) -> dict[str, dict[tuple[Any, ...], float]]:
    """The metrics by now: values (how many of a histogram) by operation, event and error."""
    data: Any = json.loads(reader.get_metrics_data().to_json())  # pyright: ignore[reportOptionalMemberAccess]
    found: dict[str, dict[tuple[Any, ...], float]] = {}
    for metric in data["resource_metrics"][0]["scope_metrics"][0]["metrics"]:
        for point in metric["data"]["data_points"]:
            attributes = point["attributes"]
            assert attributes.pop("messaging.system") == "bullmq"
            key = (
                attributes.pop("messaging.operation.name"),
                attributes.pop("messaging.destination.name"),
                attributes.pop("error.type", None),
            )
            assert not attributes
            found.setdefault(metric["name"], {})[key] = point["value"] if "value" in point else point["count"]
    return found


async def test_metrics_count_what_expired(local_herd: Oxherd, records: Records) -> None:
    @local_herd.event("metric.event", expires=0.001)
    async def event(number: int) -> None: ...

    reader = InMemoryMetricReader()
    Traces(local_herd, meter_provider=MeterProvider([reader]))
    async with local_herd:
        await event.emit_many([1, 2])
        await asyncio.sleep(0.01)
        await local_herd.start()
        await records.wait("event.expired", count=2)
    assert points(reader)["oxherd.expired.events"] == {("process", "metric.event", None): 2}


async def test_metrics_count_what_was_sent_and_handled_and_time_it(local_herd: Oxherd, records: Records) -> None:
    @local_herd.event("metric.event", retry=Retry(attempts=1))
    async def event(number: int) -> None:
        if number == 3:
            raise OSError

    reader = InMemoryMetricReader()
    Traces(local_herd, meter_provider=MeterProvider([reader]))
    async with local_herd:
        await event.emit_many([1, 2, 3])
        await event.emit(4)
        await local_herd.start()
        await records.wait("event.end", count=4)
    handled = {("process", "metric.event", None): 3, ("process", "metric.event", "OSError"): 1}
    assert points(reader) == {
        "messaging.client.sent.messages": {("send", "metric.event", None): 4},
        "messaging.client.consumed.messages": handled,
        "messaging.process.duration": handled,
    }


async def test_a_send_that_fails_is_an_error_of_its_type(make_herd: Callable[..., Oxherd], spans: Collected) -> None:
    reader = InMemoryMetricReader()
    herd = make_herd("redis://127.0.0.1:1", emit_timeout=0.05)
    sent = herd.declare("span.unsent", Order)
    Traces(herd, spans.provider, MeterProvider([reader]))
    with pytest.raises(EmitError):
        await sent.emit(Order())
    with pytest.raises(EmitError):
        await sent.emit_many([Order(), Order()])
    await herd.close()
    for span in spans.named("send span.unsent"):
        assert span.attributes is not None
        assert (span.status.status_code, span.attributes["error.type"]) == (StatusCode.ERROR, "EmitError")
        assert "not acknowledged" in str(span.status.description)
    assert points(reader)["messaging.client.sent.messages"] == {("send", "span.unsent", "EmitError"): 3}


async def test_durations_have_examples_each_in_its_own_trace(local_herd: Oxherd, spans: Collected) -> None:
    @local_herd.event("example.event")
    async def event(seconds: float) -> None:
        await asyncio.sleep(seconds)

    reader = InMemoryMetricReader()
    Traces(local_herd, spans.provider, MeterProvider([reader]))
    async with local_herd:
        await event.emit_many([0, 0.03, 0.12])
        await local_herd.start()
        await until(lambda: len(spans.named("process example.event")) == 3)
    found: Any = json.loads(cast("Any", reader.get_metrics_data()).to_json())
    metrics: Any = found["resource_metrics"][0]["scope_metrics"][0]["metrics"]
    [duration] = [metric for metric in metrics if metric["name"] == "messaging.process.duration"]
    examples = {(each["trace_id"], each["span_id"]) for each in duration["data"]["data_points"][0]["exemplars"]}
    ended = [context_of(span) for span in spans.named("process example.event")]
    assert examples == {(at.trace_id, at.span_id) for at in ended}
    assert len(examples) == 3


LATE = """
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from oxherd import Oxherd
from oxherd.telemetry.opentelemetry import Traces

herd = Oxherd("redis://127.0.0.1:1")
Traces(herd, GIVEN)
exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
send = herd.signals.tracer.start_send
send("early", ["1"]).end([])
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))
metrics.set_meter_provider(MeterProvider([reader]))
send("late", ["2"]).end([])
[metric] = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
print(*[span.name for span in exporter.get_finished_spans()])
print(*[point.attributes["messaging.destination.name"] for point in metric.data.data_points])
"""


@pytest.mark.parametrize("given", ["", "trace.get_tracer_provider(), metrics.get_meter_provider()"])
def test_an_sdk_that_is_set_up_later_records_from_then_on(given: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", LATE.replace("GIVEN", given)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ran.stdout.splitlines() == ["send late", "late"]


def test_herds_that_use_one_provider_are_counted_together() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    for number in range(2):
        herd = Oxherd("redis://127.0.0.1:1")
        traces = Traces(herd, meter_provider=provider)
        traces.start_send("x", [str(number)]).end([])
    data: Any = reader.get_metrics_data()
    (sent,) = data.resource_metrics[0].scope_metrics[0].metrics
    assert [point.value for point in sent.data.data_points] == [2]
