"""What a handler puts into its current span is kept; what OpenTelemetry's helpers say of its errors is redacted."""

from __future__ import annotations

import pytest

from oxherd.context import Context
from oxherd.privacy.redaction import Privacy

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from oxherd.telemetry.opentelemetry.redacting_span import RedactingSpan


def test_the_status_that_a_helper_sets_holds_no_withheld_value() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    context = Context(event_id="01a20cdd-4493-70c3-9fca-7d0646652bab", event="order.placed", emitted_ms=0)
    context.withheld = (b'["kanarie7391"]', None, Privacy(frozenset(), False, None))
    span = RedactingSpan(provider.get_tracer("test").start_span("process"), context)
    with pytest.raises(ValueError, match="kanarie"), trace.use_span(span, end_on_exit=True):
        raise ValueError("no kanarie7391")
    (found,) = exporter.get_finished_spans()
    assert found.status.description == "ValueError: no ***"
    assert "kanarie" not in found.to_json()
