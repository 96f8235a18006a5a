"""Spans and metrics as OpenTelemetry's own SDK gets them, with its exporters in memory."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, cast

import pytest
from opentelemetry import trace
from opentelemetry.context import Context as OtelContext
from opentelemetry.sdk.metrics import AlignedHistogramBucketExemplarReservoir, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import SpanKind, StatusCode
from pydantic import BaseModel

from oxherd import Context, Discard, EmitError, Keep, Mask, Oxherd, Retry
from oxherd.telemetry.opentelemetry.spans import Traces
from tests.conformance.test_correlation import PARENT, add, options_of
from tests.harness import Records, WorkerProcess, environment, until

CANARY = "canary-4111-1111"


class Order(BaseModel):
    card: Annotated[str, Mask()] = CANARY


class Collected:
    """The spans that have ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def all(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all if span.name == name]

    async def one(self, name: str) -> ReadableSpan:
        """The only one of that name."""
        await until(lambda: self.named(name))
        (span,) = self.named(name)
        return span


@pytest.fixture
def spans() -> Iterator[Collected]:
    collected = Collected()
    yield collected
    collected.provider.shutdown()


def context_of(span: ReadableSpan) -> Any:
    return span.get_span_context()


def parent_id(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent is not None else None


@pytest.mark.parametrize("one_trace", [True, False])
async def test_the_span_of_a_handler_is_linked_to_the_one_that_sent_its_event(
    one_trace: bool, local_herd: Oxherd, spans: Collected, records: Records
) -> None:
    @local_herd.event("span.child")
    async def child(order: Order) -> None: ...

    @local_herd.event("span.parent")
    async def parent(order: Order) -> None:
        with spans.provider.get_tracer("shop").start_as_current_span("shopping"):
            await child.emit(order)

    Traces(local_herd, spans.provider, one_trace=one_trace)
    async with local_herd:
        with spans.provider.get_tracer("shop").start_as_current_span("request"):
            emitted = await parent.emit(Order())
        await local_herd.start()
        await records.wait("event.end", event="span.child", outcome="completed")
        began: Any = records.named("event.begin", event="span.child")[0]
        process_child = await spans.one("process span.child")
    request, send, process = [await spans.one(name) for name in ("request", "send span.parent", "process span.parent")]
    shopping, send_child = await spans.one("shopping"), await spans.one("send span.child")
    assert (send.kind, process.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert parent_id(send) == context_of(request).span_id
    for sender, handled in ((send, process), (send_child, process_child)):
        assert [link.context.span_id for link in handled.links] == [context_of(sender).span_id]
        assert parent_id(handled) == (context_of(sender).span_id if one_trace else None)
        assert (context_of(handled).trace_id == context_of(sender).trace_id) == one_trace
    assert parent_id(shopping) == context_of(process).span_id
    assert parent_id(send_child) == context_of(shopping).span_id
    common = {"messaging.system": "bullmq", "messaging.destination.name": "span.parent"}
    names = {"messaging.operation.name": "send", "messaging.operation.type": "send"}
    assert send.attributes == common | names | {"messaging.message.id": str(emitted.id)}
    assert process_child.attributes == common | {
        "messaging.destination.name": "span.child",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.message.id": began.event_id,
        "messaging.message.conversation_id": str(emitted.id),
        "oxherd.attempt": 1,
        "oxherd.fence": 1,
        "oxherd.outcome": "completed",
    }
    assert send_child.attributes is not None
    assert send_child.attributes["messaging.message.conversation_id"] == str(emitted.id)
    assert {span.status.status_code for span in spans.all} == {StatusCode.UNSET}
    ended: Any = records.named("event.end", event="span.parent")[0]
    assert process.end_time is not None
    assert process.start_time is not None
    assert (process.end_time - process.start_time) / 1e6 == pytest.approx(ended.duration_ms, abs=0.01)


async def test_a_worker_that_is_started_inside_a_span_does_not_keep_it(
    local_herd: Oxherd, spans: Collected, records: Records
) -> None:
    @local_herd.event("span.alone")
    async def alone(number: int) -> None: ...

    async with local_herd:
        await add(local_herd, "span.alone", "without-trace")
        Traces(local_herd, spans.provider)
        with spans.provider.get_tracer("shop").start_as_current_span("start-up"):
            await local_herd.start()
        await records.wait("event.end")
        span = await spans.one("process span.alone")
    assert (span.parent, span.links) == (None, ())


@pytest.mark.parametrize(
    ("how", "outcomes", "error"),
    [
        ("raise", ["retrying", "failed"], "ValueError"),
        ("discard", ["discarded"], "Discard"),
        ("time", ["retrying", "timed_out"], "TimedOut"),
    ],
)
async def test_a_failure_has_its_type_and_redacted_message_and_nothing_of_the_payload(
    how: str, outcomes: list[str], error: str, local_herd: Oxherd, spans: Collected, records: Records
) -> None:
    @local_herd.event("span.failing", timeout=0.05, retry=Retry(attempts=2, delay=0.01))
    async def failing(order: Order) -> None:
        if how == "raise":
            raise ValueError(f"no such card: {order.card}")
        if how == "discard":
            raise Discard(f"no such card: {order.card}")
        await asyncio.sleep(5)

    Traces(local_herd, spans.provider)
    async with local_herd:
        await failing.emit(Order())
        await local_herd.start()
        await records.wait("event.end", outcome=outcomes[-1])
        await until(lambda: len(spans.named("process span.failing")) == len(outcomes))
    handled = spans.named("process span.failing")
    for attempt, (span, outcome) in enumerate(zip(handled, outcomes, strict=True), start=1):
        assert span.attributes is not None
        assert (span.attributes["oxherd.outcome"], span.attributes["oxherd.attempt"]) == (outcome, attempt)
        assert (span.status.status_code, span.attributes["error.type"]) == (StatusCode.ERROR, error)
        assert span.status.description
        assert span.events == ()
    assert "canary" not in "".join(span.to_json() for span in spans.all)


async def test_a_batch_is_one_span_and_each_of_its_events_is_linked_to_it(
    local_herd: Oxherd, spans: Collected, records: Records
) -> None:
    @local_herd.event("span.many")
    def many(number: int) -> None:
        with spans.provider.get_tracer("shop").start_as_current_span("in a thread"):
            pass

    Traces(local_herd, spans.provider)
    async with local_herd:
        await many.emit_many([1, 2, 3])
        await local_herd.start()
        await records.wait("event.end", count=3, outcome="completed")
        await until(lambda: len(spans.named("process span.many")) == 3)
    send = await spans.one("send span.many")
    assert send.attributes is not None
    assert send.attributes["messaging.batch.message_count"] == 3
    handled = spans.named("process span.many")
    assert {link.context.span_id for span in handled for link in span.links} == {context_of(send).span_id}
    assert {parent_id(span) for span in spans.named("in a thread")} == {context_of(span).span_id for span in handled}


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


async def test_without_an_sdk_nothing_is_recorded_and_a_trace_goes_on(local_herd: Oxherd, records: Records) -> None:
    seen: list[Context] = []

    @local_herd.event("noop.child", keep=Keep(completed=10))
    async def child(number: int, ctx: Context) -> None:
        seen.append(ctx)

    @local_herd.event("noop.parent")
    async def parent(number: int) -> None:
        await child.emit(number)

    Traces(local_herd)
    async with local_herd:
        root = (await parent.emit(1)).id
        await add(local_herd, "noop.parent", "from-node", tm=json.dumps({"traceparent": PARENT, "tracestate": "a=b"}))
        await local_herd.start()
        await records.wait("event.end", event="noop.child", count=2)
        carried = [json.loads((await options_of(local_herd, "noop.child", ctx.id))["tm"]) for ctx in seen]
    by_root = {each["oxherd.root"]: each for each in carried}
    assert "traceparent" not in by_root.pop(str(root))
    (other,) = by_root.values()
    assert (other["traceparent"], other["tracestate"]) == (PARENT, "a=b")


class Broken(SpanProcessor):
    def on_start(self, span: Span, parent_context: OtelContext | None = None) -> None:
        raise RuntimeError(CANARY)


class BrokenAtEnd(SpanProcessor):
    def on_end(self, span: ReadableSpan) -> None:
        raise RuntimeError(CANARY)


class BrokenSampler(Sampler):
    def should_sample(self, *_: Any, **__: Any) -> SamplingResult:
        raise RuntimeError(CANARY)

    def get_description(self) -> str:
        return "broken"


class BrokenReservoir(AlignedHistogramBucketExemplarReservoir):
    def offer(self, *_: Any, **__: Any) -> None:
        raise RuntimeError(CANARY)


def broken_reservoir(_: object) -> Any:
    def make(**_: object) -> BrokenReservoir:
        return BrokenReservoir((1, 2))

    return make


@pytest.mark.parametrize("broken", [Broken, BrokenAtEnd, BrokenSampler, BrokenReservoir])
async def test_what_raises_in_telemetry_is_reported_and_stops_no_event(
    broken: Any, local_herd: Oxherd, records: Records
) -> None:
    @local_herd.event("broken.event")
    async def event(number: int) -> None: ...

    provider = TracerProvider(BrokenSampler() if broken is BrokenSampler else None, shutdown_on_exit=False)
    if issubclass(broken, SpanProcessor):
        provider.add_span_processor(broken())
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    views = [View(instrument_name="*", exemplar_reservoir_factory=broken_reservoir)]
    meters = MeterProvider([InMemoryMetricReader()], views=views if broken is BrokenReservoir else ())
    Traces(local_herd, provider, meters)
    async with local_herd:
        await event.emit(1)
        await local_herd.start()
        await records.wait("event.end", outcome="completed")
        await records.wait("a telemetry subscriber failed: RuntimeError")
    assert CANARY not in "".join(record.getMessage() for record in records.all)
    if broken is BrokenReservoir:
        assert len(exporter.get_finished_spans()) == 2


APP = """
import logging
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from oxherd import Context, Oxherd
from oxherd.telemetry.opentelemetry.spans import Traces

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


# redis-py does, where it is installed: what counts is who asks.
IMPORTS = """
import builtins
found, real = [], builtins.__import__
def watched(name, by=None, *rest):
    if name.startswith("opentelemetry") and (by or {}).get("__name__", "").startswith(BY):
        found.append(by["__name__"])
    return real(name, by, *rest)
builtins.__import__ = watched
import MODULES
from oxherd import *
print(*set(found))
"""


@pytest.mark.parametrize(
    ("modules", "by"),
    [
        ("oxherd, oxherd.cli.main, oxherd.worker.executors.child", ""),
        (
            "oxherd.telemetry.opentelemetry.spans",
            "oxherd.telemetry.opentelemetry.spans oxherd.telemetry.opentelemetry.metrics",
        ),
    ],
)
def test_oxherd_imports_opentelemetry_for_traces_only(modules: str, by: str) -> None:
    script = IMPORTS.replace("BY", "'oxherd'").replace("MODULES", modules)
    ran = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=True)
    assert sorted(ran.stdout.split()) == by.split()


def test_without_opentelemetry_the_error_says_what_to_install() -> None:
    script = "import sys; sys.modules['opentelemetry'] = None; import oxherd.telemetry.opentelemetry.spans"
    ran = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=False)
    assert ran.stderr.endswith("ConfigError: OpenTelemetry is not installed; install oxherd[otel].\n")


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
