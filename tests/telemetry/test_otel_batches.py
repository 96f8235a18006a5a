"""Many spans at once are to OpenTelemetry's batch span processor what each of them would be."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult

from oxherd.carrier import Carrier, Trace
from oxherd.signals import EventEnded
from oxherd.telemetry import otel_batches
from oxherd.telemetry.otel_batches import take_all
from oxherd.telemetry.otel_kinds import Kind
from oxherd.telemetry.otel_spans import spans_of
from tests.harness import DEADLINE

AN_HOUR_MS = 3_600_000


class Collected(SpanExporter):
    """Keeps the names of what is exported, batch by batch."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.exported = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.batches.append([span.name for span in spans])
        self.exported.set()
        return SpanExportResult.SUCCESS

    @property
    def names(self) -> list[str]:
        return [name for batch in self.batches for name in batch]


class Batches:
    """A processor that exports only what is enough for a batch, until it is told otherwise."""

    def __init__(self, size: int, most: int = 1000, kind: type[BatchSpanProcessor] = BatchSpanProcessor) -> None:
        self.exporter = Collected()
        self.processor = kind(self.exporter, most, AN_HOUR_MS, size)

    @property
    def batch(self) -> Any:
        return self.processor._batch_processor

    def left(self) -> list[str]:
        return [span.name for span in reversed(list(self.batch._queue))]


@pytest.fixture
def batches() -> Iterator[Batches]:
    batches = Batches(size=8, most=10)
    yield batches
    batches.processor.shutdown()


def spans(*names: str) -> list[ReadableSpan]:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("x")
    made = [tracer.start_span(name) for name in names]
    return [span for span in made if isinstance(span, ReadableSpan)]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.lists(st.integers(0, 6), max_size=12))
def test_all_are_exported_in_order_and_a_full_batch_at_once(size: int, turns: list[int]) -> None:
    batches = Batches(size)
    made = iter(spans(*map(str, range(sum(turns)))))
    for turn in turns:
        assert take_all(batches.processor, [next(made) for _ in range(turn)]), (
            "with the installed SDK both ways have not been compared: add its version where they agree"
        )
    if sum(turns) >= size:
        assert batches.exporter.exported.wait(DEADLINE)
    batches.processor.force_flush()
    assert batches.exporter.names == [str(number) for number in range(sum(turns))]
    assert max(map(len, batches.exporter.batches), default=0) <= size
    batches.processor.shutdown()


def test_less_than_a_batch_waits_as_each_of_them_would(batches: Batches) -> None:
    assert take_all(batches.processor, spans("a", "b"))
    batches.processor.on_end(*spans("c"))
    assert take_all(batches.processor, spans("d"))
    assert (batches.left(), batches.exporter.batches) == (["a", "b", "c", "d"], [])


def test_what_does_not_fit_is_given_one_by_one_so_that_the_sdk_says_what_it_drops(batches: Batches) -> None:
    assert take_all(batches.processor, spans("a"))
    assert not take_all(batches.processor, spans(*"bcdefghijk"))
    assert batches.left() == ["a"]


def test_after_a_shutdown_the_sdk_is_told_of_each(batches: Batches) -> None:
    batches.processor.shutdown()
    assert not take_all(batches.processor, spans("a"))
    assert batches.left() == []


def test_in_a_process_that_was_forked_the_sdk_begins_anew_with_the_first(batches: Batches) -> None:
    batches.batch._pid = -1
    assert not take_all(batches.processor, spans("a"))


class Choosy(BatchSpanProcessor):
    def on_end(self, span: ReadableSpan) -> None:
        if span.name != "process left":
            super().on_end(span)


def test_a_processor_of_a_users_own_hears_of_each() -> None:
    choosy = Batches(8, kind=Choosy)
    assert not take_all(choosy.processor, spans("a"))
    assert not take_all(SimpleSpanProcessor(choosy.exporter), spans("a"))
    choosy.processor.shutdown()


def test_where_another_on_end_has_been_put_in_its_place_that_hears_of_each(
    monkeypatch: pytest.MonkeyPatch, batches: Batches
) -> None:
    for whose in (batches.processor, BatchSpanProcessor):
        with monkeypatch.context() as patched:
            patched.setattr(whose, "on_end", print)
            assert not take_all(batches.processor, spans("a"))
    assert take_all(batches.processor, spans("a"))


@pytest.mark.parametrize("version", ["1.42.0", "1.45.20", "1.46.0"])
def test_an_sdk_that_may_be_another_one_inside_is_told_of_each(
    monkeypatch: pytest.MonkeyPatch, batches: Batches, version: str
) -> None:
    monkeypatch.setattr(otel_batches, "version", version)
    assert not take_all(batches.processor, spans("a"))


class Recording(Sampler):
    """Has every other span recorded only, not sampled."""

    def __init__(self) -> None:
        self._asked = 0

    def should_sample(self, *_: Any, **__: Any) -> SamplingResult:
        self._asked += 1
        return SamplingResult(Decision.RECORD_AND_SAMPLE if self._asked % 2 else Decision.RECORD_ONLY)

    def get_description(self) -> str:
        return "recording"


@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize("kind", [BatchSpanProcessor, Choosy])
async def test_of_the_spans_that_end_in_a_turn_those_that_are_sampled_are_exported(
    kind: type[BatchSpanProcessor], others: int
) -> None:
    batches, provider, errors = Batches(8, kind=kind), TracerProvider(sampler=Recording()), list[BaseException]()
    heard = [Collected() for _ in range(others)]
    for processor in (batches.processor, *map(SimpleSpanProcessor, heard)):
        provider.add_span_processor(processor)
    tracer = provider.get_tracer("oxherd")
    ours = spans_of(tracer, one_trace=True, measure=lambda _, __: None, on_error=errors.append)
    assert ours is not None
    carried = Carrier(trace=Trace(f"00-{5:032x}-{6:016x}-01"))
    for name in ("a", "b", "c", "d"):
        ours.start(Kind("process", name), carried, 7).ended(EventEnded(name, "id", 1, 1, "completed", 2.0))
    await asyncio.sleep(0)
    assert (batches.left(), errors) == (["process a", "process c"], [])
    batches.processor.shutdown()
    for exporter in (batches.exporter, *heard):
        assert exporter.names == ["process a", "process c"]
