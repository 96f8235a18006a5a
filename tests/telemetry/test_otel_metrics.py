"""OpenTelemetry where an SDK comes late, or serves several herds."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from oxherd import Oxherd
from oxherd.telemetry.opentelemetry import Traces
from tests.harness import environment

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
