"""Places in traces: from what events carry to OpenTelemetry's own, and back."""

from __future__ import annotations

from typing import Any, Final

from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, TraceFlags, TraceState

from oxherd.carrier import Trace, read_trace

NOWHERE: Final = Context()
# Under which a context has its span: `set_span_in_context` copies twice, and each event needs one.
(_SPAN_KEY,) = trace.set_span_in_context(trace.INVALID_SPAN, NOWHERE)
# W3C Trace Context, level 2: whether it is sampled, and whether its id is random.
SAMPLED, RANDOM = 1, 2
FLAGS: Final = tuple(map(TraceFlags, range(256)))
_NO_STATE: Final = trace.DEFAULT_TRACE_STATE
_SAMPLED_DIGITS: Final = frozenset("13579bdf")


def _of(trace_id: int, span_id: int, is_remote: bool, flags: TraceFlags, state: TraceState) -> SpanContext:
    """A SpanContext of ids that are known to be valid."""
    fields = (trace_id, span_id, is_remote, flags, state, True)
    return tuple.__new__(SpanContext, fields)  # pyright: ignore[reportUnknownMemberType]


_known: Final[tuple[Any, ...]] = (1, 2, True, FLAGS[1], _NO_STATE)
# Its own checks take four times as long; another version may keep other things in it.
if tuple(SpanContext(*_known)) != (*_known, True):
    _of = SpanContext  # pyright: ignore[reportAssignmentType]


class Sender:
    """The span that sent an event, as a place in a trace; `links` has one to it."""

    __slots__ = ("_flags", "_state", "_trace_id", "context", "links")

    def __init__(self, place: Trace) -> None:
        parent = place.parent
        self._trace_id = int(parent[3:35], 16)
        known = int(parent[53:], 16)
        self._flags = FLAGS[known & (SAMPLED | RANDOM)]
        self._state = TraceState.from_header([place.state]) if place.state else _NO_STATE
        self.context = _of(self._trace_id, int(parent[36:52], 16), True, FLAGS[known], self._state)
        self.links = (Link(self.context),)

    def child(self, span_id: int) -> SpanContext:
        """The place of a child that is recorded, or not, as its parent is."""
        return _of(self._trace_id, span_id, False, self._flags, self._state)


# The events of a batch have the same; where each has its own, an LRU cache would take as long as to make them.
_known_senders: dict[Trace, Sender] = {}
_MOST_SENDERS: Final = 64


def sender_of(place: Trace) -> Sender:
    """The sender at a place."""
    known = _known_senders.get(place)
    if known is None:
        if len(_known_senders) >= _MOST_SENDERS:
            _known_senders.clear()
        known = _known_senders[place] = Sender(place)
    return known


def is_sampled(place: Trace) -> bool:
    """Whether the span of that place is recorded by those who sent it."""
    return place.parent[-1] in _SAMPLED_DIGITS


def within(span: SpanContext | None) -> Context:
    """What a child of a span elsewhere begins in."""
    return NOWHERE if span is None else Context({_SPAN_KEY: NonRecordingSpan(span)})


def enter(span: Span) -> None:
    """Make a span the current one, and nothing else, for as long as the present context lasts."""
    otel.attach(Context({_SPAN_KEY: span}))


def trace_of(span: Span) -> Trace | None:
    """A span's place, as it goes along with events."""
    at = span.get_span_context()
    if not at.is_valid:
        return None
    state = at.trace_state
    parent = f"00-{at.trace_id:032x}-{at.span_id:016x}-{at.trace_flags:02x}"
    return read_trace(parent, state.to_header()) if state else Trace(parent)
