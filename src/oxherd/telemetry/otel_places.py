"""Places in traces: from what events carry to OpenTelemetry's own, and back."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, copy_context
from functools import lru_cache
from typing import Any, Final, cast

from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, TraceFlags, TraceState

from oxherd.carrier import NOTHING, Carried, Trace, TraceAlone, read_trace

NOWHERE: Final = Context()
# Under which a context has its span: `set_span_in_context` copies twice, and each event needs one.
(SPAN_KEY,) = trace.set_span_in_context(trace.INVALID_SPAN, NOWHERE)
# W3C Trace Context, level 2: whether it is sampled, and whether its id is random.
SAMPLED, RANDOM = 1, 2
FLAGS: Final = tuple(map(TraceFlags, range(256)))
_NO_STATE: Final = trace.DEFAULT_TRACE_STATE


def _checked(of: type[SpanContext], fields: tuple[Any, ...]) -> SpanContext:
    return of(*fields[:-1])


_made: Callable[[type[SpanContext], tuple[Any, ...]], SpanContext] = cast("Any", tuple).__new__
_known: Final[tuple[Any, ...]] = (1, 2, True, FLAGS[1], _NO_STATE)
# A SpanContext of ids that are known to be valid is made as the tuple that it is: its own checks take four times as
# long. Another version may keep other things in it.
if tuple(SpanContext(*_known)) != (*_known, True):
    _made = _checked


# Of a child: it is recorded, or not, as its parent is.
_FLAGS_OF_CHILD: Final = tuple(FLAGS[flags & (SAMPLED | RANDOM)] for flags in range(256))
_FLAGS_WRITTEN: Final = {b"%02x" % flags: of_child for flags, of_child in enumerate(_FLAGS_OF_CHILD)}


class Children:
    """The places of children of spans elsewhere. What all of one parent have in common is read once for those that come
    one after another, as the events of a batch do."""

    _last: tuple[Carried, int, TraceFlags, TraceState] = (NOTHING, 0, FLAGS[0], _NO_STATE)

    def place(self, carried: Carried, span_id: int) -> SpanContext:
        """The place of the child of that id of the span that an event carries; from any thread."""
        # In one function, since it is asked for each span that is exported.
        known, trace_id, flags, state = self._last
        if carried is not known:
            if isinstance(carried, TraceAlone):
                trace_id, flags, state = int(carried.ids[:32], 16), _FLAGS_WRITTEN[carried.ids[-2:]], _NO_STATE
            else:
                trace_id, bits, header = carried.place()
                flags, state = _FLAGS_OF_CHILD[bits], _state_of(header) if header else _NO_STATE
            self._last = carried, trace_id, flags, state
        return _made(SpanContext, (trace_id, span_id, False, flags, state, True))


def sender_of(place: Trace | None) -> tuple[SpanContext | None, tuple[Link, ...]]:
    """The span that sent an event, where one did, and one link to it."""
    return (None, ()) if place is None else _sender_at(place)


@lru_cache(maxsize=64)  # the events of a batch have the same
def _sender_at(place: Trace) -> tuple[SpanContext, tuple[Link, ...]]:
    parent, header = place
    flags, state = FLAGS[int(parent[53:], 16)], _state_of(header) if header else _NO_STATE
    sender = _made(SpanContext, (int(parent[3:35], 16), int(parent[36:52], 16), True, flags, state, True))
    return sender, (Link(sender),)


@lru_cache(maxsize=64)
def _state_of(header: str) -> TraceState:
    return TraceState.from_header([header])


def within(span: SpanContext | None) -> Context:
    """What a child of a span elsewhere begins in."""
    return NOWHERE if span is None else Context({SPAN_KEY: NonRecordingSpan(span)})


def _setter() -> Callable[[Context], object]:
    """`attach`, or what it comes to where contexts are kept in a variable of contextvars: two calls less."""
    variable: Any = getattr(getattr(otel, "_RUNTIME_CONTEXT", None), "_current_context", None)
    if not isinstance(variable, ContextVar):
        return otel.attach
    set_it: Callable[[Context], object] = cast("Any", variable).set
    attempt = copy_context()
    attempt.run(set_it, NOWHERE)
    return set_it if attempt.run(otel.get_current) is NOWHERE else otel.attach


# Makes a context the current one, for as long as the present one of contextvars lasts.
make_current: Final = _setter()


def trace_of(span: Span) -> Trace | None:
    """A span's place, as it goes along with events."""
    at = span.get_span_context()
    if not at.is_valid:
        return None
    state = at.trace_state
    parent = f"00-{at.trace_id:032x}-{at.span_id:016x}-{at.trace_flags:02x}"
    return read_trace(parent, state.to_header()) if state else Trace(parent)
