"""Spans and metrics of OpenTelemetry; needs the extra `oxherd[otel]`, which the rest of oxherd never imports.

Names are those of the semantic conventions for messaging, version 1.44.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from oxherd.app import Oxherd
from oxherd.carrier import Trace, read_trace
from oxherd.context import Context as EventContext
from oxherd.context import current
from oxherd.errors import ConfigError, OxherdError
from oxherd.signals import EventEnded

try:
    from opentelemetry import context as otel
    from opentelemetry import trace
    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceState

    from oxherd.telemetry.otel_metrics import Metrics
except ImportError:
    raise ConfigError("OpenTelemetry is not installed; install oxherd[otel].") from None

if TYPE_CHECKING:
    from oxherd.telemetry.otel_spans import Spans

_SCHEMA: Final = "https://opentelemetry.io/schemas/1.44.0"
_SYSTEM: Final = "bullmq"
_EMPTY: Final = Context()
# Under which a context has its span: `set_span_in_context` copies twice, and each event needs one.
(_SPAN_KEY,) = trace.set_span_in_context(trace.INVALID_SPAN, _EMPTY)
_LOOK_SECONDS: Final = 1.0
# An attempt that is begun again as if nothing had been is no error.
_WELL: Final = ("completed", "requeued")

T = TypeVar("T")


class Traces:
    """Makes spans and metrics of a herd's events: `Traces(herd)`, once, beside the declarations.

    Args:
        herd: whose events are followed.
        tracer_provider: where spans go; else OpenTelemetry's global one.
        meter_provider: where metrics go; else OpenTelemetry's global one.
        one_trace: a handler's span is in the emitter's trace, a child of the span that sent the event; False begins a
            trace of its own. It is linked to that span either way.
        metrics: False records none.

    Without an SDK behind the providers nothing is recorded; what came with an event goes on to what it causes.
    """

    def __init__(
        self,
        herd: Oxherd,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        *,
        one_trace: bool = True,
        metrics: bool = True,
    ) -> None:
        self._provider = tracer_provider
        self._tracer = trace.get_tracer("oxherd", tracer_provider=tracer_provider, schema_url=_SCHEMA)
        self._spans: Spans | None = None
        self._look_at = 0.0
        self.on_error = herd.signals.on_error
        self._one_trace = one_trace
        self._metrics = Metrics(meter_provider, _SCHEMA) if metrics else None
        self._send = _Kinds("send")
        self._process = _Kinds("process")
        herd.signals.tracer = self

    def sending(self, event: str, ids: Sequence[str]) -> _Sending:
        """Begin the span of a send: one for all events that go together."""
        name, attributes = self._send.of(event)
        span = self.safely(lambda: self._tracer.start_span(name, kind=SpanKind.PRODUCER, attributes=attributes))
        return _Sending(self, span or trace.INVALID_SPAN, event, ids)

    def handling(self, context: EventContext) -> _Handling:
        """Begin the span of a handler's run."""
        name, attributes = self._process.of(context.event)
        # Not in the context of whoever has started the worker.
        parent, links, within = _sender(context.carrier.trace, self._one_trace)
        began = time.time_ns()
        try:
            spans = self._spans or self._own_spans()
            if spans is not None and spans.fit:
                span = spans.start(name, parent, within, attributes, links, began)
            else:
                span = self._tracer.start_span(name, within, SpanKind.CONSUMER, attributes, links, start_time=began)
        except Exception as error:  # noqa: BLE001 - as `safely`
            self.on_error(error)
            span = trace.INVALID_SPAN
        return _Handling(self, span, began)

    def _own_spans(self) -> Spans | None:
        """Ours, once there is an SDK behind the tracer: a global one may be set at any time."""
        if self._spans is None and (now := time.monotonic()) >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            self._spans = _spans_of(trace.get_tracer("oxherd", tracer_provider=self._provider, schema_url=_SCHEMA))
        return self._spans

    def going_on(self, place: Trace | None) -> _Current:
        """Around a handler in a process of its own, whose span is its worker's."""
        span = _span_context(place)
        return _Current(trace.set_span_in_context(NonRecordingSpan(span), Context()) if span else Context())

    def sent(self, event: str, count: int, failures: Sequence[BaseException]) -> None:
        """Count what was sent, and what was not."""
        if self._metrics is not None:
            self._metrics.sent(event, count, failures)

    def handled(self, ended: EventEnded, error: str | None) -> None:
        """Count and time a handler's run."""
        if self._metrics is not None:
            try:
                self._metrics.handled(ended, error)
            except Exception as failure:  # noqa: BLE001 - as `safely`
                self.on_error(failure)

    def safely(self, call: Callable[[], T]) -> T | None:
        """Call what may run samplers, processors and views of the user's: one that raises must not stop the queue."""
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - see above
            self.on_error(error)
            return None


class _Kinds:
    """The names of one operation's spans, and what is on each of them."""

    def __init__(self, operation: str) -> None:
        self._operation = operation
        self._known: dict[str, tuple[str, dict[str, str]]] = {}

    def of(self, event: str) -> tuple[str, dict[str, str]]:
        found = self._known.get(event)
        if found is None:
            attributes = {
                "messaging.system": _SYSTEM,
                "messaging.operation.name": self._operation,
                "messaging.operation.type": self._operation,
                "messaging.destination.name": event,
            }
            found = self._known[event] = (f"{self._operation} {event}", attributes)
        return found


class _Sending:
    """One send."""

    def __init__(self, traces: Traces, span: Span, event: str, ids: Sequence[str]) -> None:
        self._traces = traces
        self._span = span
        self._event = event
        self._ids = ids
        self.trace = _trace_of(span)

    def end(self, failures: Sequence[BaseException]) -> None:
        self._traces.sent(self._event, len(self._ids) - len(failures), failures)
        if self._span.is_recording():
            self._traces.safely(lambda: self._describe(failures))
        self._traces.safely(self._span.end)

    def _describe(self, failures: Sequence[BaseException]) -> None:
        span, ids = self._span, self._ids
        if len(ids) == 1:
            span.set_attribute("messaging.message.id", ids[0])
        else:
            span.set_attribute("messaging.batch.message_count", len(ids))
        parent = current.get()
        if parent is not None:
            span.set_attribute("messaging.message.conversation_id", parent.carrier.root or parent.text)
        if failures:
            error = failures[0]
            span.set_attribute("error.type", type(error).__name__)
            # Ours hold no payload; of others nobody knows.
            span.set_status(Status(StatusCode.ERROR, str(error) if isinstance(error, OxherdError) else None))


class _Handling:
    """One run of a handler."""

    __slots__ = ("_began", "_span", "_traces")

    def __init__(self, traces: Traces, span: Span, began: int) -> None:
        self._traces = traces
        self._span = span
        self._began = began

    def trace(self) -> Trace | None:
        return _trace_of(self._span)

    def enter(self) -> None:
        otel.attach(Context({_SPAN_KEY: self._span}))

    def end(self, ended: EventEnded) -> None:
        error = None
        if ended.outcome not in _WELL:
            error = ended.error.type if ended.error is not None else ended.outcome
        self._traces.handled(ended, error)
        try:
            if self._span.is_recording():
                self._describe(ended, error)
            # The outcome's way to Redis is not the handler's time.
            self._span.end(self._began + round(ended.duration_ms * 1e6))
        except Exception as failure:  # noqa: BLE001 - as `Traces.safely`
            self._traces.on_error(failure)

    def _describe(self, ended: EventEnded, error: str | None) -> None:
        attributes: dict[str, Any] = {
            "messaging.message.id": ended.event_id,
            "oxherd.attempt": ended.attempt,
            "oxherd.fence": ended.fence,
            "oxherd.outcome": ended.outcome,
        }
        if ended.root is not None:
            attributes["messaging.message.conversation_id"] = ended.root
        if error is not None:
            attributes["error.type"] = error
            # The log's own: scrubbed. Not `record_exception`, which writes the message as it was.
            self._span.set_status(Status(StatusCode.ERROR, ended.error.message if ended.error is not None else None))
        self._span.set_attributes(attributes)


class _Current:
    """Makes a context of OpenTelemetry the current one."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __enter__(self) -> None:
        self._token = otel.attach(self._context)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        otel.detach(self._token)


def _spans_of(tracer: trace.Tracer) -> Spans | None:
    """Our own spans, where the tracer is the SDK's."""
    try:
        # Not at the top: the API alone may be installed, and an SDK may be another one inside than it was.
        from oxherd.telemetry.otel_spans import spans_of
    except ImportError:
        return None
    return spans_of(tracer, _SCHEMA)


_Sender = tuple[SpanContext | None, tuple[Link, ...], Context]


# The events of a batch have the same.
@lru_cache(maxsize=256)
def _sender(place: Trace | None, one_trace: bool) -> _Sender:
    """The parent of a handler's span, its links, and what it begins in."""
    sender = _span_context(place)
    if sender is None:
        return None, (), _EMPTY
    links = (Link(sender),)
    if not one_trace:
        return None, links, _EMPTY
    return sender, links, trace.set_span_in_context(NonRecordingSpan(sender), _EMPTY)


def _trace_of(span: Span) -> Trace | None:
    """A span's place, as it goes along with events."""
    at = span.get_span_context()
    if not at.is_valid:
        return None
    state = at.trace_state
    parent = f"00-{at.trace_id:032x}-{at.span_id:016x}-{at.trace_flags:02x}"
    return read_trace(parent, state.to_header()) if state else Trace(parent)


def _span_context(place: Trace | None) -> SpanContext | None:
    if place is None:
        return None
    _, trace_id, span_id, flags = place.parent.split("-")
    state = TraceState.from_header([place.state]) if place.state else None
    return SpanContext(int(trace_id, 16), int(span_id, 16), True, trace.TraceFlags(int(flags, 16)), state)
