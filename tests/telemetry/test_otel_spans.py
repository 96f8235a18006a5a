"""Our own spans, beside those that the SDK would have made."""

from __future__ import annotations

import asyncio
import copy
import json
import threading
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import SpanContext, SpanKind, StatusCode, TraceFlags, TraceState

from oxherd.carrier import IDS, Carrier, Trace, TraceAlone
from oxherd.signals import ErrorInfo, EventEnded
from oxherd.telemetry.otel_kinds import Kind
from oxherd.telemetry.otel_places import Children, sender_of, within
from oxherd.telemetry.otel_spans import Spans, spans_of

CARRIED = Carrier(trace=Trace(f"00-{5:032x}-{6:016x}-01"))
KIND = Kind("process", "x")


def raise_it(error: BaseException) -> None:
    raise error


def our_spans(provider: TracerProvider, on_error: Callable[[BaseException], None] = raise_it) -> Spans:
    ours = spans_of(provider.get_tracer("oxherd"), one_trace=True, measure=lambda _, __: None, on_error=on_error)
    assert ours is not None
    return ours


def collecting(sampler: Sampler = DEFAULT_ON) -> tuple[TracerProvider, InMemorySpanExporter]:
    collected = InMemorySpanExporter()
    provider = TracerProvider(sampler=sampler)
    provider.add_span_processor(SimpleSpanProcessor(collected))
    return provider, collected


def ended(event: str = "x") -> EventEnded:
    return EventEnded(event, "id", 1, 1, "completed", 2.0)


class Against(Sampler):
    """Decides otherwise than any other."""

    def should_sample(self, *_: Any, **__: Any) -> SamplingResult:
        return SamplingResult(Decision.RECORD_AND_SAMPLE, {"by": "us"}, TraceState([("of", "us")]))

    def get_description(self) -> str:
        return "AlwaysOnSampler"


class Stubborn(ParentBased):
    def should_sample(self, *_: Any, **__: Any) -> SamplingResult:
        return SamplingResult(Decision.DROP)


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 255))
def test_the_place_in_a_trace_of_ones_own_is_that_in_any_other(trace_id: int, parent: int, flags: int) -> None:
    place = Trace(f"00-{trace_id:032x}-{parent:016x}-{flags:02x}")
    found = IDS.fullmatch(place.parent[3:].encode())
    assert found is not None
    own, other = TraceAlone(found), Carrier(trace=place)
    children = Children()
    at = children.place(own, 7)
    assert at == children.place(other, 7) == children.place(own, 7)
    assert (at.trace_id, at.span_id, at.is_valid) == (trace_id, 7, True)
    assert type(at.trace_flags) is TraceFlags


@pytest.mark.parametrize("flags", [0, 1, 3], ids="flags={}".format)
@pytest.mark.parametrize(
    "sampler",
    [
        DEFAULT_ON,
        ALWAYS_ON,
        ALWAYS_OFF,
        ParentBased(ALWAYS_OFF),
        ParentBased(TraceIdRatioBased(0.5)),
        ParentBased(ALWAYS_ON, remote_parent_sampled=ALWAYS_OFF),
        ParentBased(ALWAYS_ON, remote_parent_not_sampled=ALWAYS_ON),
        ParentBased(ALWAYS_ON, remote_parent_not_sampled=Against()),
        ParentBased(DEFAULT_ON, remote_parent_sampled=ALWAYS_OFF),
        Against(),
        Stubborn(ALWAYS_ON),
    ],
    ids=lambda sampler: f"{type(sampler).__name__}-{sampler.get_description()[:60]}",
)
def test_a_span_is_sampled_as_the_sdk_would_have_sampled_it(sampler: Sampler, flags: int) -> None:
    provider, collected = collecting(sampler)
    ours, tracer = our_spans(provider), provider.get_tracer("oxherd")
    place = Trace(f"00-{5:032x}-{6:016x}-{flags:02x}", "a=b")
    sender, links = sender_of(place)
    assert sender == SpanContext(5, 6, True, TraceFlags(flags), TraceState([("a", "b")]))
    made = ours.start(KIND, Carrier(trace=place), 7)
    theirs = tracer.start_span(KIND.name, within(sender), SpanKind.CONSUMER, KIND.attributes, links, start_time=7)
    recorded = made.is_recording()
    assert recorded == theirs.is_recording()
    for span in (made, theirs):
        at = span.get_span_context()
        assert (at.trace_id, at.is_remote) == (5, False)
        span.end(9)
    assert made.get_span_context().trace_flags == theirs.get_span_context().trace_flags
    assert made.get_span_context().trace_state == theirs.get_span_context().trace_state
    finished = collected.get_finished_spans()
    assert len({str(span.attributes) for span in finished}) == len({str(span.links) for span in finished}) <= 1
    assert len(finished) in (0, 2)


def test_a_span_is_read_as_one_of_the_sdk_while_it_runs_and_once_it_has_ended() -> None:
    provider = TracerProvider()
    span = our_spans(provider).start(KIND, CARRIED, 7)
    assert isinstance(span, ReadableSpan)
    # What the SDK keeps in its own fields is none of what ours keeps in them.
    assert not vars(span).keys() & vars(ReadableSpan("")).keys()
    assert (span.name, span.start_time, span.end_time, span.kind) == ("process x", 7, None, SpanKind.CONSUMER)
    span.set_attribute("by", "us")
    assert dict(span.attributes or {})["by"] == "us"
    span.update_name("ours")
    span.end(9)
    assert (span.name, span.end_time, span.resource) == ("ours", 9, provider.resource)
    said = json.loads(span.to_json())
    assert (said["name"], said["parent_id"], said["attributes"]["by"]) == ("ours", f"0x{6:016x}", "us")
    assert said["context"]["span_id"] == f"0x{span.get_span_context().span_id:016x}"
    assert [link.context.span_id for link in span.links] == [6]


async def test_spans_that_end_in_one_turn_are_handed_over_in_the_next_whatever_one_processor_raises() -> None:
    heard: list[str] = []

    class Stumbling(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            heard.append(span.name)
            if span.name == "process 0":
                raise ValueError("no")

    provider, errors = TracerProvider(), list[BaseException]()
    provider.add_span_processor(Stumbling())
    ours = our_spans(provider, errors.append)
    for number in range(3):
        span = ours.start(Kind("process", str(number)), CARRIED, 7)
        span.ended(ended(str(number)))
        assert (span.is_recording(), heard) == (False, [])
    await asyncio.sleep(0)
    assert (heard, [str(error) for error in errors]) == ([f"process {number}" for number in range(3)], ["no"])


async def test_each_run_is_measured_once_whoever_ends_its_span_and_whether_it_is_sampled() -> None:
    measured: list[tuple[EventEnded, Any]] = []
    provider, collected = collecting()
    tracer = provider.get_tracer("oxherd")
    ours = spans_of(
        tracer, one_trace=True, measure=lambda ended, span: measured.append((ended, span)), on_error=raise_it
    )
    assert ours is not None
    unsampled = Carrier(trace=Trace(f"00-{5:032x}-{6:016x}-00"))
    spans = [ours.start(KIND, carried, 7) for carried in (CARRIED, CARRIED, unsampled)]
    spans[1].end()
    for number, span in enumerate(spans):
        span.ended(ended(str(number)))
    await asyncio.sleep(0)
    assert [(ended.event, span) for ended, span in measured] == list(zip("012", spans, strict=True))
    assert len(collected.get_finished_spans()) == 2


def test_spans_of_a_loop_that_has_ended_before_its_next_turn_are_handed_over_in_the_next_loop() -> None:
    provider, collected = collecting()
    ours = our_spans(provider)

    def end_some(count: int) -> None:
        for _ in range(count):
            ours.start(KIND, CARRIED, 7).ended(ended())

    loop = asyncio.new_event_loop()
    loop.call_soon(end_some, 10)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert not collected.get_finished_spans()
    asyncio.run(_later(lambda: end_some(1)))
    assert len(collected.get_finished_spans()) == 11


async def _later(call: Callable[[], None]) -> None:
    call()


def test_what_is_added_to_a_span_that_has_ended_is_left_out() -> None:
    provider, collected = collecting()
    ours = our_spans(provider)
    span = ours.start(KIND, CARRIED, 7)
    span.add_event("before")
    span.end()
    span.add_event("after")
    span.set_attribute("after", 1)
    span.add_link(span.get_span_context())
    span.update_name("after")
    span.set_status(StatusCode.ERROR)
    span.end()
    (finished,) = collected.get_finished_spans()
    assert (finished.name, finished.status.status_code) == ("process x", StatusCode.UNSET)
    assert ([each.name for each in finished.events], len(finished.links)) == (["before"], 1)
    assert finished.attributes == KIND.attributes


def test_what_a_processor_changes_is_what_an_exporter_reads() -> None:
    provider = TracerProvider()

    class Redacting(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            span._events = ()  # pyright: ignore[reportPrivateUsage] - as users do it

    collected = InMemorySpanExporter()
    provider.add_span_processor(Redacting())
    provider.add_span_processor(SimpleSpanProcessor(collected))
    span = our_spans(provider).start(KIND, CARRIED, 7)
    span.add_event("secret")
    span.end()
    [finished] = collected.get_finished_spans()
    assert (finished.name, list(finished.events)) == ("process x", [])
    assert list(copy.deepcopy(finished).events) == []


async def test_a_copy_is_a_span_of_the_sdk() -> None:
    provider, collected = collecting()
    span = our_spans(provider).start(KIND, CARRIED, 7)
    span.ended(EventEnded("x", "id", 1, 1, "failed", 2.0, ErrorInfo("ValueError", "no")))
    await asyncio.sleep(0)
    [finished] = collected.get_finished_spans()
    copied = copy.deepcopy(finished)
    assert type(copied) is ReadableSpan
    assert copied.to_json() == finished.to_json()
    assert (copied.status.description, copied.end_time) == ("no", 7 + 2_000_000)


def test_values_that_cannot_be_exported_are_left_out() -> None:
    provider, collected = collecting()
    span = our_spans(provider).start(KIND, CARRIED, 7)
    span.set_attributes({"when": cast("Any", object()), "how": "well", **{str(number): 1 for number in range(200)}})
    span.end()
    [finished] = collected.get_finished_spans()
    attributes = dict(finished.attributes or {})
    assert "when" not in attributes
    assert len(attributes) == 128
    assert json.loads(finished.to_json())["attributes"]["199"] == 1


def test_a_processor_that_hears_what_comes_just_before_an_end_has_the_sdks_own_spans() -> None:
    class Last(SpanProcessor):
        def _on_ending(self, span: Any) -> None: ...

    class Quiet(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None: ...

    for processor, fit in ((Last(), False), (Quiet(), True)):
        provider = TracerProvider()
        provider.add_span_processor(processor)
        assert our_spans(provider).fit(1) is fit


async def test_spans_of_two_loops_in_two_threads_do_not_wait_for_each_other() -> None:
    barrier = threading.Barrier(2, timeout=10)

    class Slow(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            barrier.wait()

    def run() -> None:
        errors: list[BaseException] = []
        provider = TracerProvider()
        provider.add_span_processor(Slow())
        ours = our_spans(provider, errors.append)
        asyncio.run(_later(lambda: ours.start(KIND, CARRIED, 7).ended(ended())))
        assert not errors

    await asyncio.gather(asyncio.to_thread(run), asyncio.to_thread(run))
    assert not barrier.broken
