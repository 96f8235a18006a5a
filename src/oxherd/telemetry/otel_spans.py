"""Spans of events in a few microseconds each: recorded here, and given to the SDK's processors once they have ended.

The SDK's own spans cost five times as much, most of it for what these do not have: a begin that processors hear of,
limits, locks. Where a processor listens to the begin, the SDK's own are made instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor, Tracer
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
)
from opentelemetry.util.types import Attributes, AttributeValue

from oxherd.carrier import Trace
from oxherd.signals import EventEnded
from oxherd.telemetry.otel_kinds import SCHEMA, Kind, describe
from oxherd.telemetry.otel_places import FLAGS, RANDOM, SAMPLED, enter, is_sampled, sender_of, trace_of, within

# Their begin does nothing.
_HEAR_ENDS: Final = {each.on_start for each in (SpanProcessor, BatchSpanProcessor, SimpleSpanProcessor)}
_CONSUMER: Final = SpanKind.CONSUMER
_UNSET: Final = Status()
_MOST_ATTRIBUTES: Final = 128


class Spans:
    """Makes spans for one tracer of the SDK, each in the trace of its sender where `one_trace`.

    `on_error` is told what the user's own processors raise.
    """

    def __init__(self, tracer: Tracer, *, one_trace: bool, on_error: Callable[[BaseException], None]) -> None:
        self.one_trace = one_trace
        self.on_error = on_error
        self.resource = tracer.resource
        self.processor = tracer.span_processor
        self.scope = InstrumentationScope("oxherd", None, SCHEMA)
        self._sampler = tracer.sampler
        self._as_sender = one_trace and _decides_as_parent(tracer.sampler)
        self._span_id = tracer.id_generator.generate_span_id
        self._trace_id = tracer.id_generator.generate_trace_id
        # Neither is in every version of the SDK.
        self._random = RANDOM if getattr(tracer.id_generator, "is_trace_id_random", bool)() else 0
        self._is_enabled: Callable[[], bool] = getattr(tracer, "_is_enabled", lambda: True)
        self._checked: object = None
        self._fit = False

    @property
    def fit(self) -> bool:
        """Whether nobody listens to the begin of a span, nor has switched the tracer off; both may change any time."""
        processors = getattr(self.processor, "_span_processors", None)
        if processors is not self._checked:
            self._checked = processors
            known = cast("tuple[Any, ...]", processors) if isinstance(processors, tuple) else (None,)
            self._fit = all(_start_of(each) in _HEAR_ENDS for each in known)
        return self._fit and self._is_enabled()

    def start(self, kind: Kind, place: Trace | None, began: int) -> EventSpan | UnrecordedSpan:
        """Begin a consumer's span for what was sent at `place`; may raise what the sampler does."""
        if place is None or not self._as_sender:
            return self._sampled(kind, place, began)
        # What the sampler would answer, which takes it as long as all the rest.
        if is_sampled(place):
            return EventSpan(self, kind, place, self._span_id(), began)
        return UnrecordedSpan(place, self._span_id())

    def _sampled(self, kind: Kind, place: Trace | None, began: int) -> EventSpan | UnrecordedSpan:
        sender = None if place is None else sender_of(place)
        parent = sender.context if sender is not None and self.one_trace else None
        trace_id = self._trace_id() if parent is None else parent.trace_id
        flags = self._random if parent is None else parent.trace_flags & RANDOM
        result = self._sampler.should_sample(
            within(parent), trace_id, kind.name, _CONSUMER, kind.attributes, () if sender is None else sender.links
        )
        flags |= SAMPLED if result.decision.is_sampled() else 0
        span_id = self._span_id()
        at = SpanContext(trace_id, span_id, False, FLAGS[flags], result.trace_state)
        if not result.decision.is_recording():
            return UnrecordedSpan(place, span_id, at)
        attributes = cast("dict[str, Any]", result.attributes)  # pyright: ignore[reportUnknownMemberType]
        return EventSpan(self, kind, place, span_id, began, at, dict(attributes))


class UnrecordedSpan(NonRecordingSpan):
    """A span that only says where it is, which few ask: the place is made up for those."""

    def __init__(self, place: Trace | None, span_id: int, context: SpanContext | None = None) -> None:
        self._place = place
        self._span_id = span_id
        self._at = context

    def get_span_context(self) -> SpanContext:
        if self._at is None:
            assert self._place is not None  # noqa: S101 - it was made without a sampler
            self._at = sender_of(self._place).child(self._span_id)
        return self._at

    def __repr__(self) -> str:
        return f"NonRecordingSpan({self.get_span_context()!r})"

    enter = enter
    trace = trace_of

    def ended(self, ended: EventEnded) -> None:
        """Nothing is recorded."""


@dataclass(slots=True)
class _Extra:
    """What few handlers add to their span."""

    events: list[Event] = field(default_factory=list[Event])
    links: list[Link] = field(default_factory=list[Link])
    name: str | None = None
    status: Status = _UNSET


class EventSpan(Span):
    """A consumer's span, of a handler's run; what the handler adds to it, as the current span, is kept as well.

    `context` and `attributes` are what a sampler has said; else the span is recorded as its sender's is.
    """

    __slots__ = ("_attributes", "_began", "_context", "_extra", "_kind", "_place", "_span_id", "_spans")

    def __init__(
        self,
        spans: Spans,
        kind: Kind,
        place: Trace | None,
        span_id: int,
        began: int,
        context: SpanContext | None = None,
        attributes: dict[str, Any] | None = None,
    ) -> None:
        self._spans: Spans | None = spans
        self._kind = kind
        self._place = place
        self._span_id = span_id
        self._began = began
        self._context = context
        self._attributes = attributes
        self._extra: _Extra | None = None

    def get_span_context(self) -> SpanContext:
        if self._context is None:
            assert self._place is not None  # noqa: S101 - as above
            self._context = sender_of(self._place).child(self._span_id)
        return self._context

    def is_recording(self) -> bool:
        return self._spans is not None

    enter = enter
    trace = trace_of

    # What comes after the end is left out, as the SDK does it: the span may be with an exporter.

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        if self._spans is None:
            return
        if self._attributes is None:
            self._attributes = self._kind.attributes.copy()
        self._attributes.update(attributes)

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        self.set_attributes({key: value})

    @property
    def _added(self) -> _Extra:
        if self._spans is None:
            return _Extra()
        if self._extra is None:
            self._extra = _Extra()
        return self._extra

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        self._added.events.append(Event(name, attributes, timestamp or time.time_ns()))

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        self._added.links.append(Link(context, attributes))

    def update_name(self, name: str) -> None:
        self._added.name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        self._added.status = status if isinstance(status, Status) else Status(status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: ARG002 - OpenTelemetry's signature
    ) -> None:
        # Its type alone: message and stack may hold what the event's log does not show.
        of = {"exception.type": type(exception).__qualname__, **(attributes or {})}
        self.add_event("exception", of, timestamp)

    def ended(self, ended: EventEnded) -> None:
        """Say what became of the run, and end, where the handler has not done so itself; never raises."""
        spans = self._spans
        if spans is None:
            return
        try:
            if self._attributes is None:
                self._attributes = self._kind.whole.copy()
            status = describe(self._attributes, ended)
            if status is not None:
                self._added.status = status
            # The outcome's way to Redis is not the handler's time.
            self.end(self._began + round(ended.duration_ms * 1e6))
        except Exception as failure:  # noqa: BLE001 - of the user's own processors
            spans.on_error(failure)

    def end(self, end_time: int | None = None) -> None:
        spans, self._spans = self._spans, None
        if spans is None:
            return
        kind, extra = self._kind, self._extra
        attributes: Any = kind.attributes.copy() if self._attributes is None else self._attributes
        if len(attributes) > _MOST_ATTRIBUTES:
            attributes = BoundedAttributes(_MOST_ATTRIBUTES, attributes)
        parent, links, at = None, (), self._context
        if self._place is not None:
            sender = sender_of(self._place)
            links = sender.links
            if spans.one_trace:
                parent = sender.context
            if at is None:
                at = self._context = sender.child(self._span_id)
        name, events, status = kind.name, (), _UNSET
        if extra is not None:
            name, events, status = extra.name or name, extra.events, extra.status
            links = (*links, *extra.links)
        spans.processor.on_end(
            ReadableSpan(
                name, at, parent, spans.resource, attributes, events, links, _CONSUMER, None, status, self._began,
                end_time or time.time_ns(), spans.scope,
            )
        )  # fmt: skip


def _decides_as_parent(sampler: object) -> bool:
    """Whether a sampler decides for a child of a remote span as was decided for that, whatever else it is told."""
    if not isinstance(sampler, ParentBased) or type(sampler).should_sample is not ParentBased.should_sample:
        return False
    known = [getattr(sampler, name, None) for name in ("_remote_parent_sampled", "_remote_parent_not_sampled")]
    return known == [ALWAYS_ON, ALWAYS_OFF]


def _start_of(processor: object) -> Any:
    return getattr(cast("type[Any]", type(processor)), "on_start", None)


def spans_of(tracer: object, *, one_trace: bool, on_error: Callable[[BaseException], None]) -> Spans | None:
    """How to make spans for a tracer; None where it is not the SDK's own, or makes none."""
    return Spans(tracer, one_trace=one_trace, on_error=on_error) if type(tracer) is Tracer else None
