"""The spans of sends and of handlers, as the SDK gets them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from oxherd import Discard, Oxherd, Retry
from oxherd.telemetry.opentelemetry import Traces
from tests.conformance.test_correlation import add
from tests.harness import Records, until
from tests.telemetry.otel import Collected, Order, context_of, parent_id


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
async def test_a_failure_has_its_type_and_scrubbed_message_and_nothing_of_the_payload(
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
