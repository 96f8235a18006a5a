"""What a handler can do with its own span, and where that span is the current one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.context import Context as OtelContext
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind

from oxherd import Oxherd
from oxherd.telemetry.opentelemetry import Traces
from tests.harness import Records, WorkerProcess, until
from tests.telemetry.otel import CANARY, Collected, Order, context_of, parent_id


class Hears(SpanProcessor):
    """A processor of the user's that adds to each span as it begins."""

    def on_start(self, span: Span, parent_context: OtelContext | None = None) -> None:
        span.set_attribute("shop.version", "7")


async def test_a_handler_may_add_to_its_span_and_so_may_a_processor(
    local_herd: Oxherd, records: Records, spans: Collected
) -> None:
    spans.provider.add_span_processor(Hears())
    Traces(local_herd, spans.provider)

    @local_herd.event("order.placed")
    async def order_placed(number: int) -> None:
        span = trace.get_current_span()
        assert span.is_recording()
        span.set_attribute("shop.items", 3)
        span.set_attributes({"shop.country": "FR"})
        span.add_event("packed", {"boxes": 2})
        span.add_link(span.get_span_context())
        span.update_name("process order.placed in FR")
        with spans.provider.get_tracer("shop").start_as_current_span("pay"):
            pass

    async with local_herd:
        await local_herd.start()
        await order_placed.emit(1)
        await records.wait("event.end", outcome="completed")
    made = await spans.one("process order.placed in FR")
    attributes = dict(made.attributes or {})
    assert attributes["shop.items"] == 3
    assert attributes["shop.country"] == "FR"
    assert attributes["oxherd.outcome"] == "completed"
    assert attributes["shop.version"] == "7"
    assert [(event.name, dict(event.attributes or {})) for event in made.events] == [("packed", {"boxes": 2})]
    assert len(made.links) == 2
    assert made.instrumentation_scope is not None
    assert (made.instrumentation_scope.name, made.kind) == ("oxherd", SpanKind.CONSUMER)
    assert made.resource == spans.provider.resource
    assert json.loads(made.to_json())["name"] == made.name
    pay = await spans.one("pay")
    assert parent_id(pay) == context_of(made).span_id
    assert context_of(pay).trace_id == context_of(made).trace_id


async def test_an_exception_that_a_handler_records_on_its_span_is_its_type_alone(
    local_herd: Oxherd, records: Records, spans: Collected
) -> None:
    Traces(local_herd, spans.provider)

    @local_herd.event("order.placed")
    async def order_placed(order: Order) -> None:
        trace.get_current_span().record_exception(ValueError(order.card))

    async with local_herd:
        await local_herd.start()
        await order_placed.emit(Order())
        await records.wait("event.end", outcome="completed")
    made = await spans.one("process order.placed")
    assert [dict(event.attributes or {}) for event in made.events] == [{"exception.type": "ValueError"}]
    assert CANARY not in made.to_json()


async def test_a_handler_may_end_its_span_itself(local_herd: Oxherd, records: Records, spans: Collected) -> None:
    @local_herd.event("order.placed")
    async def order_placed(number: int) -> None:
        trace.get_current_span().end()

    Traces(local_herd, spans.provider)
    async with local_herd:
        await local_herd.start()
        await order_placed.emit(1)
        await records.wait("event.end", outcome="completed")
    assert "oxherd.outcome" not in ((await spans.one("process order.placed")).attributes or {})
    assert not [record for record in records.all if record.name.startswith("opentelemetry")]


@pytest.mark.parametrize("ratio", [0.0, 1.0])
async def test_the_sampler_decides_for_the_whole_story(local_herd: Oxherd, records: Records, ratio: float) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(ratio)))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    Traces(local_herd, provider)

    @local_herd.event("order.placed")
    async def order_placed(number: int) -> None:
        assert trace.get_current_span().is_recording() == bool(ratio)
        assert trace.get_current_span().get_span_context().is_valid

    async with local_herd:
        await local_herd.start()
        await order_placed.emit(1)
        await records.wait("event.end", outcome="completed")
    await until(lambda: len(exporter.get_finished_spans()) == 2 * ratio)


APP = """
import logging
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from oxherd import Context, Oxherd
from oxherd.telemetry.opentelemetry import Traces

herd = Oxherd(prefix=PREFIX)
provider = TracerProvider()
Traces(herd, provider)

@herd.event("otel.process", run_in="process")
def in_process(number: int, ctx: Context) -> None:
    inner = trace.get_current_span().get_span_context()
    ctx.log.info("inside", extra={"trace": f"{inner.trace_id:032x}", "remote": inner.is_remote})
"""


async def test_a_process_is_handed_the_trace(
    local_herd: Oxherd,
    tmp_path: Path,
    start_worker: Callable[..., WorkerProcess],
    standalone: str,
    spans: Collected,
) -> None:
    (tmp_path / "app.py").write_text(APP.replace("PREFIX", repr(local_herd.prefix)))
    in_process = local_herd.declare("otel.process", int)
    Traces(local_herd, spans.provider)
    async with local_herd:
        await in_process.emit(1)
    worker = start_worker(url=standalone)
    await until(lambda: worker.count("event.end", outcome="completed"))
    send = await spans.one("send otel.process")
    assert worker.count("inside", trace=f"{context_of(send).trace_id:032x}", remote=True) == 1
    assert trace.get_current_span() is trace.INVALID_SPAN
