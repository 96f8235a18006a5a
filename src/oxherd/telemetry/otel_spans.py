"""Spans of events in a microsecond or two each: what is not asked for while an event runs is made once it is read.

Most of what the SDK's own spans cost an event is for what these do not have: a begin that processors hear of, limits,
locks. Where a processor listens to the begin, the SDK's own are made instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from random import getrandbits
from typing import Any, Final, cast

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor, SynchronousMultiSpanProcessor, Tracer
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
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

from oxherd.carrier import Carried
from oxherd.signals import EventEnded
from oxherd.telemetry.otel_batches import take_all
from oxherd.telemetry.otel_kinds import SCHEMA, Kind, describe, record_type
from oxherd.telemetry.otel_places import (
    FLAGS,
    RANDOM,
    SAMPLED,
    Children,
    sender_of,
    trace_of,
    within,
)
from oxherd.telemetry.together import Together, call_each

_HOOKS: Final = ("on_start", "_on_ending")
# These do nothing at a begin, nor just before an end.
_QUIET: Final = {
    getattr(each, hook, None) for each in (SpanProcessor, BatchSpanProcessor, SimpleSpanProcessor) for hook in _HOOKS
}
_CONSUMER: Final = SpanKind.CONSUMER
_UNSET: Final = Status()
_MOST_ATTRIBUTES: Final = 128


# Takes the numbers of a run that has ended, in that span.
Measure = Callable[[EventEnded, Span], None]


class Spans:
    """Makes spans for one tracer of the SDK, each in the trace of its sender where `one_trace`.

    `measure` is told how each run ended, and its span; `on_error` what the user's own processors raise.
    """

    def __init__(
        self, tracer: Tracer, *, one_trace: bool, measure: Measure, on_error: Callable[[BaseException], None]
    ) -> None:
        self.one_trace = one_trace
        self.measure = measure
        self.resource = tracer.resource
        self.processor = tracer.span_processor
        self.scope = InstrumentationScope("oxherd", None, SCHEMA)
        self._sampler = tracer.sampler
        self._as_sender = one_trace and _decides_as_parent(tracer.sampler)
        self._new_id = _span_ids(tracer.id_generator)
        self._trace_id = tracer.id_generator.generate_trace_id
        # Neither is in every version of the SDK.
        self._random = RANDOM if getattr(tracer.id_generator, "is_trace_id_random", bool)() else 0
        self._is_enabled: Callable[[], bool] = getattr(tracer, "_is_enabled", lambda: True)
        self.children = Children()
        # Where spans go once they have ended.
        self.ended: Together[EventSpan] = Together(self._hand_over)
        self._on_error = on_error
        self._last: tuple[Carried | None, bool | None] = (None, None)
        self._checked: object = None
        self._fit = False
        self.checked_ns = 0

    def fit(self, now_ns: int) -> bool:
        """Whether nobody listens to what comes before the end of a span, nor has switched the tracer off.

        Both may change any time; `checked_ns` is when that was seen last, in nanoseconds.
        """
        processors = getattr(self.processor, "_span_processors", None)
        if processors is not self._checked:
            self._checked = processors
            known = cast("tuple[Any, ...]", processors) if isinstance(processors, tuple) else (None,)
            self._fit = all(_hears_ends_only(each) for each in known)
        fit = self._fit and self._is_enabled()
        self.checked_ns = now_ns if fit else 0
        return fit

    def start(self, kind: Kind, carried: Carried, began: int) -> EventSpan | UnrecordedSpan:
        """Begin a consumer's span for an event that carries this; may raise what the sampler does."""
        known, sampled = self._last
        if carried is not known:  # the events of a batch carry the same
            sampled = carried.sampled if self._as_sender else None
            self._last = carried, sampled
        if sampled is None:
            return self._sampled(kind, carried, began)
        # As the sampler would answer, which takes it as long as all the rest.
        if sampled:
            return EventSpan(self, kind, carried, self._new_id(), began)
        return UnrecordedSpan(self, carried, self._new_id())

    def _hand_over(self, ended: list[EventSpan]) -> None:
        """Hand spans to all processors; to the only one without a detour."""
        processors: Any = getattr(self.processor, "_span_processors", ())
        alone = type(self.processor) is SynchronousMultiSpanProcessor and len(processors) == 1
        processor = processors[0] if alone else self.processor
        if not take_all(processor, [span for span in ended if span.sampled]):
            call_each(processor.on_end, ended, self._on_error)

    def _sampled(self, kind: Kind, carried: Carried, began: int) -> EventSpan | UnrecordedSpan:
        sender, links = sender_of(carried.trace)
        parent = sender if self.one_trace else None
        trace_id = self._trace_id() if parent is None else parent.trace_id
        flags = self._random if parent is None else parent.trace_flags & RANDOM
        result = self._sampler.should_sample(within(parent), trace_id, kind.name, _CONSUMER, kind.attributes, links)
        flags |= SAMPLED if result.decision.is_sampled() else 0
        at = SpanContext(trace_id, self._new_id(), False, FLAGS[flags], result.trace_state)
        if not result.decision.is_recording():
            return UnrecordedSpan(self, carried, at.span_id, at)
        attributes = cast("dict[str, Any]", result.attributes)  # pyright: ignore[reportUnknownMemberType]
        span = EventSpan(self, kind, carried, at.span_id, began)
        span.put(at, dict(attributes))
        return span


class UnrecordedSpan(NonRecordingSpan):
    """A span that only says where it is, which few ask: the place is made up for those."""

    def __init__(self, spans: Spans, carried: Carried, span_id: int, context: SpanContext | None = None) -> None:
        self._spans = spans
        self._carried = carried
        self._id = span_id
        self._at = context

    def get_span_context(self) -> SpanContext:
        if self._at is None:
            self._at = self._spans.children.place(self._carried, self._id)
        return self._at

    def __repr__(self) -> str:
        return f"NonRecordingSpan({self.get_span_context()!r})"

    trace = trace_of

    def ended(self, ended: EventEnded) -> None:
        """Nothing is recorded but the run's numbers."""
        self._spans.measure(ended, self)


@dataclass(slots=True)
class _Added:
    """What few handlers add to their span."""

    events: list[Event] = field(default_factory=list[Event])
    links: list[Link] = field(default_factory=list[Link])
    name: str | None = None
    status: Status = _UNSET


class _Place:
    """A span's own place, made when it is first asked for; an attribute like any other from then on."""

    def __get__(self, span: EventSpan | None, _: type[EventSpan]) -> Any:
        if span is None:
            return self
        at = span.context = span._spans.children.place(span._carried, span._id)  # pyright: ignore[reportPrivateUsage]
        return at


class EventSpan(Span, ReadableSpan):
    """A consumer's span, of a handler's run; what the handler adds to it, as the current span, is kept as well."""

    context: Any = _Place()
    # Of the class, since they stay so for most: to set them takes longer.
    _given: dict[str, Any] | None = None
    _added: _Added | None = None
    sampled = True
    _open = True
    _ended: EventEnded | None = None
    _end_ns: int | None = None

    def __init__(self, spans: Spans, kind: Kind, carried: Carried, span_id: int, began: int) -> None:
        self._spans = spans
        self._what = kind
        self._carried = carried
        self._began_ns = began
        self._id = span_id

    def get_span_context(self) -> SpanContext:
        return self.context

    def put(self, context: SpanContext, attributes: dict[str, Any]) -> None:
        """Take what a sampler has said, where it was asked; else the span is recorded as its sender's is."""
        self.context, self._given, self.sampled = context, attributes, context.trace_flags.sampled

    def is_recording(self) -> bool:
        return self._open

    trace = trace_of

    # What comes after the end is left out, as the SDK does it: the span may be with an exporter.

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        if not self._open:
            return
        if self._given is None:
            self._given = self._what.attributes.copy()
        self._given.update(attributes)

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        self.set_attributes({key: value})

    def _adding(self) -> _Added:
        if not self._open:
            return _Added()
        if self._added is None:
            self._added = _Added()
        return self._added

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        self._adding().events.append(Event(name, attributes, timestamp or time.time_ns()))

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        self._adding().links.append(Link(context, attributes))

    def update_name(self, name: str) -> None:
        self._adding().name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        self._adding().status = status if isinstance(status, Status) else Status(status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: ARG002 - OpenTelemetry's signature
    ) -> None:
        record_type(self, exception, attributes, timestamp)

    def ended(self, ended: EventEnded) -> None:
        """End, and say what became of the run, where the handler has not ended it itself; never raises."""
        self._spans.measure(ended, self)
        if not self._open:
            return
        self._ended = ended
        self._open = False
        self._spans.ended.add(self)

    def end(self, end_time: int | None = None) -> None:
        if not self._open:
            return
        self._end_ns = end_time or time.time_ns()
        self._open = False
        self._spans.processor.on_end(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy is the SDK's own: this one knows the processors."""
        return object.__new__, (ReadableSpan,), {name: getattr(self, name) for name in _FIELDS}

    def parts(self) -> tuple[Any, ...]:
        """What the SDK's span is made of, as of now."""
        spans, kind, added, ended = self._spans, self._what, self._added or _Added(), self._ended
        attributes: Any = (kind.attributes if self._given is None else self._given).copy()
        status, end_ns = added.status, self._end_ns
        if ended is not None:
            status = describe(attributes, ended) or status
            # The outcome's way to Redis is not the handler's time.
            end_ns = self._began_ns + round(ended.duration_ms * 1e6)
        if self._given is not None:  # the values of others may be none that can be exported
            attributes = BoundedAttributes(_MOST_ATTRIBUTES, attributes)
        sender, links = sender_of(self._carried.trace)
        parent = sender if spans.one_trace else None
        return (
            added.name or kind.name, self.context, parent, spans.resource, attributes, added.events,
            (*links, *added.links), _CONSUMER, None, status, self._began_ns, end_ns, spans.scope,
        )  # fmt: skip


class _Late:
    """A field of the SDK's span, made with the others once one is read: an exporter's time, not the event's."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, span: EventSpan | None, _: type[EventSpan]) -> Any:
        if span is None:
            return self
        made = vars(ReadableSpan(*span.parts()))
        if span.is_recording():  # it may change
            return made[self._name]
        # From now on this is not asked again. What a processor has set by then stays.
        for name, value in made.items():
            vars(span).setdefault(name, value)
        return vars(span)[self._name]


_FIELDS: Final = tuple(vars(ReadableSpan("", resource=Resource({}))))
for _name in _FIELDS:
    setattr(EventSpan, _name, _Late(_name))


def _decides_as_parent(sampler: object) -> bool:
    """Whether a sampler decides for a child of a remote span as was decided for that, whatever else it is told."""
    if not isinstance(sampler, ParentBased) or type(sampler).should_sample is not ParentBased.should_sample:
        return False
    known = [getattr(sampler, name, None) for name in ("_remote_parent_sampled", "_remote_parent_not_sampled")]
    return known == [ALWAYS_ON, ALWAYS_OFF]


def _span_ids(generator: IdGenerator) -> Callable[[], int]:
    """What makes ids as the generator does; zero, which the SDK's own draws again, is as rare as an id given twice."""
    return partial(getrandbits, 64) if type(generator) is RandomIdGenerator else generator.generate_span_id


def _hears_ends_only(processor: object) -> bool:
    kind = cast("type[Any]", type(processor))
    return all(getattr(kind, hook, None) in _QUIET for hook in _HOOKS)


def spans_of(
    tracer: object, *, one_trace: bool, measure: Measure, on_error: Callable[[BaseException], None]
) -> Spans | None:
    """How to make spans for a tracer; None where it is not the SDK's own, or makes none."""
    if type(tracer) is not Tracer:
        return None
    return Spans(tracer, one_trace=one_trace, measure=measure, on_error=on_error)
