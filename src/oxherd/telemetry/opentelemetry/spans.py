"""Makes a span of each send and each run of a handler, by the semantic conventions for messaging 1.44."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Literal, Protocol

from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from oxherd.context import Context as EventContext
from oxherd.context import current
from oxherd.errors import OxherdError
from oxherd.lineage import TraceContext, parse_trace_context
from oxherd.signals import EventEnded, EventExpired, Signals
from oxherd.telemetry.opentelemetry.conventions import SCHEMA, common_attributes, error_type
from oxherd.telemetry.opentelemetry.metrics import Metrics
from oxherd.telemetry.opentelemetry.redacting_span import RedactingSpan

_W3C: Final = TraceContextTextMapPropagator()


class Herd(Protocol):
    """What `Traces` needs of an `Oxherd`."""

    @property
    def signals(self) -> Signals: ...


class Traces:
    """Makes spans and metrics of a herd's events. Make it once, beside the declarations: `Traces(herd)`.

    Args:
        herd: the `Oxherd`.
        tracer_provider: where spans go; None: OpenTelemetry's global provider.
        meter_provider: where metrics go; None: OpenTelemetry's global provider.
        one_trace: a handler's span is a child of the span that sent the event; False: it starts a trace of its own. It
            links to that span either way.
        metrics: False records none.

    Without an SDK behind the providers nothing is recorded, but a trace that came with an event is passed on.
    """

    def __init__(
        self,
        herd: Herd,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        *,
        one_trace: bool = True,
        metrics: bool = True,
    ) -> None:
        self._tracer = trace.get_tracer("oxherd", tracer_provider=tracer_provider, schema_url=SCHEMA)
        self._metrics = Metrics(meter_provider) if metrics else None
        self._one_trace = one_trace
        self._guard = _Guard(herd.signals.on_error)
        herd.signals.tracer = self
        if self._metrics is not None:
            herd.signals.subscribe(self._metrics.expired, EventExpired)

    def start_send(self, event: str, ids: Sequence[str]) -> _SendSpan:
        """Start the span of a send."""
        span = trace.INVALID_SPAN
        with self._guard:
            span = self._tracer.start_span(
                f"send {event}", kind=SpanKind.PRODUCER, attributes=_attributes("send", event)
            )
        return _SendSpan(self._guard, self._metrics, span, event, ids)

    def start_process(self, context: EventContext) -> _ProcessSpan:
        """Start the span of a handler's run, and make it current."""
        span, started_ns = trace.INVALID_SPAN, time.time_ns()
        with self._guard:
            span = self._start_consumer(context.event, context.lineage.trace, started_ns)
        seen = RedactingSpan(span, context)
        current_context = trace.set_span_in_context(seen, Context())
        otel.attach(current_context)
        return _ProcessSpan(self._guard, self._metrics, span, seen, current_context, started_ns)

    def attach(self, parent: TraceContext | None) -> None:
        """Make the worker's span current, in a process of the handler's own."""
        otel.attach(_remote_context(parent))

    def _start_consumer(self, event: str, sender: TraceContext | None, started_ns: int) -> Span:
        remote = _remote_context(sender)
        sending = trace.get_current_span(remote).get_span_context()
        return self._tracer.start_span(
            f"process {event}",
            remote if self._one_trace else Context(),  # never a span that was current when the worker started
            kind=SpanKind.CONSUMER,
            attributes=_attributes("process", event),
            links=[Link(sending)] if sending.is_valid else (),
            start_time=started_ns,
        )


class _Guard:
    """Reports what the user's samplers, processors and views raise, so that it stops no event."""

    def __init__(self, on_error: Callable[[BaseException], None]) -> None:
        self._on_error = on_error

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self._on_error(error)
        return True


class _SendSpan:
    def __init__(self, guard: _Guard, metrics: Metrics | None, span: Span, event: str, ids: Sequence[str]) -> None:
        self._guard = guard
        self._metrics = metrics
        self._span = span
        self._event = event
        self._ids = ids
        self.trace = _trace_of(span)

    def end(self, failures: Sequence[BaseException]) -> None:
        with self._guard:
            if self._metrics is not None:
                self._metrics.sent(self._event, len(self._ids) - len(failures), failures)
        if not self._span.is_recording():
            return
        with self._guard:
            self._describe(failures)
        with self._guard:
            self._span.end()

    def _describe(self, failures: Sequence[BaseException]) -> None:
        ids, parent = self._ids, current.get()
        attributes: dict[str, AttributeValue] = (
            {"messaging.message.id": ids[0]} if len(ids) == 1 else {"messaging.batch.message_count": len(ids)}
        )
        if parent is not None:
            attributes["messaging.message.conversation_id"] = parent.lineage.root or parent.event_id
        if failures:
            error = failures[0]
            attributes["error.type"] = type(error).__name__
            # Our own messages hold no payload; others' may.
            self._span.set_status(Status(StatusCode.ERROR, str(error) if isinstance(error, OxherdError) else None))
        self._span.set_attributes(attributes)


class _ProcessSpan:
    def __init__(
        self, guard: _Guard, metrics: Metrics | None, span: Span, seen: RedactingSpan, context: Context, started_ns: int
    ) -> None:
        self._guard = guard
        self._metrics = metrics
        self._span = span
        self._seen = seen
        self._context = context
        self._started_ns = started_ns

    @property
    def trace(self) -> TraceContext | None:
        return _trace_of(self._span)

    def end(self, ended: EventEnded) -> None:
        self._seen.forget_event()
        with self._guard:
            if self._metrics is not None:
                self._metrics.processed(ended, self._context)
        if not self._span.is_recording():  # not sampled, or ended by the handler
            return
        with self._guard:
            self._describe(ended)
        with self._guard:
            # Writing the outcome to Redis is not the handler's time.
            self._span.end(self._started_ns + round(ended.duration_ms * 1e6))

    def _describe(self, ended: EventEnded) -> None:
        attributes: dict[str, AttributeValue] = {
            "messaging.message.id": ended.event_id,
            "oxherd.attempt": ended.attempt,
            "oxherd.fence": ended.fence,
            "oxherd.outcome": ended.outcome,
        }
        if ended.root is not None:
            attributes["messaging.message.conversation_id"] = ended.root
        if (error := error_type(ended)) is not None:
            attributes["error.type"] = error
            # The message as logged, which is redacted; `record_exception` would store the original.
            self._span.set_status(Status(StatusCode.ERROR, ended.error.message if ended.error is not None else None))
        self._span.set_attributes(attributes)


def _attributes(operation: Literal["send", "process"], event: str) -> dict[str, Any]:
    return {**common_attributes(operation, event), "messaging.operation.type": operation}


def _remote_context(sender: TraceContext | None) -> Context:
    """A context whose current span is the remote one of `sender`."""
    if sender is None:
        return Context()
    return _W3C.extract({"traceparent": sender.parent, "tracestate": sender.state}, Context())


def _trace_of(span: Span) -> TraceContext | None:
    """A span's context as W3C headers."""
    headers: dict[str, str] = {}
    _W3C.inject(headers, trace.set_span_in_context(span, Context()))
    return parse_trace_context(headers.get("traceparent"), headers.get("tracestate"))
