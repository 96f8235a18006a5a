"""Spans of events in a few microseconds each: recorded here, and given to the SDK's processors once they have ended.

The SDK's own spans cost five times as much, most of it for what these do not have: a begin that processors hear of,
limits, locks. Where a processor listens to the begin, the SDK's own are made instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor, Tracer
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import Attributes, AttributeValue

# Their begin does nothing.
_HEAR_ENDS: Final = {each.on_start for each in (SpanProcessor, BatchSpanProcessor, SimpleSpanProcessor)}
# W3C Trace Context, level 2: whether it is sampled, and whether its id is random.
_SAMPLED, _RANDOM = 1, 2
_KEPT: Final = _SAMPLED | _RANDOM
_FLAGS: Final = tuple(map(TraceFlags, range(4)))
_CONSUMER: Final = SpanKind.CONSUMER
_UNSET: Final = Status()
_MOST_ATTRIBUTES: Final = 128


class Spans:
    """Makes spans for one tracer of the SDK."""

    def __init__(self, tracer: Tracer, scope: InstrumentationScope) -> None:
        self.tracer = tracer
        self.scope = scope
        self._sampler = tracer.sampler
        self._as_parent = _decides_as_parent(tracer.sampler)
        self._span_id = tracer.id_generator.generate_span_id
        self._trace_id = tracer.id_generator.generate_trace_id
        # Neither is in every version of the SDK.
        self._random = _RANDOM if getattr(tracer.id_generator, "is_trace_id_random", bool)() else 0
        self.processor = tracer.span_processor
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

    def start(
        self,
        name: str,
        parent: SpanContext | None,
        within: Context,
        attributes: dict[str, Any],
        links: Sequence[Link],
        began: int,
    ) -> Span:
        """Begin a consumer's span, in the trace of `parent`; may raise what the sampler does."""
        if parent is not None and self._as_parent:
            # What the sampler would answer, which takes it as long as all the rest.
            flags = parent.trace_flags
            if not flags & _SAMPLED:
                return _Unrecorded(parent, self._span_id())
            state = parent.trace_state
            at = SpanContext(parent.trace_id, self._span_id(), False, _FLAGS[flags & _KEPT], state)
            return EventSpan(self, name, at, parent, dict(attributes), links, began)
        trace_id = self._trace_id() if parent is None else parent.trace_id
        flags = self._random if parent is None else parent.trace_flags & _RANDOM
        result = self._sampler.should_sample(within, trace_id, name, _CONSUMER, attributes, links)
        flags |= _SAMPLED if result.decision.is_sampled() else 0
        at = SpanContext(trace_id, self._span_id(), False, _FLAGS[flags], result.trace_state)
        if not result.decision.is_recording():
            return NonRecordingSpan(at)
        attributes = cast("dict[str, Any]", result.attributes)  # pyright: ignore[reportUnknownMemberType]
        return EventSpan(self, name, at, parent, dict(attributes), links, began)


class _Unrecorded(NonRecordingSpan):
    """A child of a span that is not recorded, nor is this one: few ask for its own place."""

    def __init__(self, parent: SpanContext, span_id: int) -> None:
        self._parent = parent
        self._span_id = span_id

    def get_span_context(self) -> SpanContext:
        parent = self._parent
        flags = _FLAGS[parent.trace_flags & _KEPT]
        return SpanContext(parent.trace_id, self._span_id, False, flags, parent.trace_state)

    def __repr__(self) -> str:
        return f"NonRecordingSpan({self.get_span_context()!r})"


class EventSpan(Span):
    """A consumer's span; what a handler adds to it, as the current span, is kept as well."""

    __slots__ = ("_attributes", "_began", "_context", "_events", "_links", "_name", "_parent", "_spans", "_status")

    def __init__(
        self,
        spans: Spans,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        attributes: dict[str, Any],
        links: Sequence[Link],
        began: int,
    ) -> None:
        self._spans: Spans | None = spans
        self._name = name
        self._context = context
        self._parent = parent
        self._attributes = attributes
        self._links = links
        self._began = began
        self._events: Sequence[Event] = ()
        self._status = _UNSET

    def get_span_context(self) -> SpanContext:
        return self._context

    def is_recording(self) -> bool:
        return self._spans is not None

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        self._attributes.update(attributes)

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        self._attributes[key] = value

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        self._events = [*self._events, Event(name, attributes, timestamp or time.time_ns())]

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        self._links = [*self._links, Link(context, attributes)]

    def update_name(self, name: str) -> None:
        self._name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        self._status = status if isinstance(status, Status) else Status(status, description)

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

    def end(self, end_time: int | None = None) -> None:
        spans, self._spans = self._spans, None
        if spans is None:
            return
        attributes: Any = self._attributes
        if len(attributes) > _MOST_ATTRIBUTES:
            attributes = BoundedAttributes(_MOST_ATTRIBUTES, attributes)
        spans.processor.on_end(
            ReadableSpan(
                self._name, self._context, self._parent, spans.tracer.resource, attributes, self._events, self._links,
                _CONSUMER, None, self._status, self._began, end_time or time.time_ns(), spans.scope,
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


def spans_of(tracer: object, schema: str) -> Spans | None:
    """How to make spans for a tracer; None where it is not the SDK's own, or makes none."""
    if type(tracer) is not Tracer:
        return None
    return Spans(tracer, InstrumentationScope("oxherd", None, schema))
