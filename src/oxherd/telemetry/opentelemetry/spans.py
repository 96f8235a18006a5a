"""Spans and metrics of OpenTelemetry; needs the extra `oxherd[otel]`, which the rest of oxherd never imports.

Names are those of the semantic conventions for messaging, version 1.44.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final

from oxherd.app import Oxherd
from oxherd.context import Context as EventContext
from oxherd.context import current
from oxherd.errors import ConfigError, OxherdError
from oxherd.lineage import TraceContext, parse_trace_context
from oxherd.signals import EventEnded

try:
    from opentelemetry import context as otel
    from opentelemetry import trace
    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    from opentelemetry.util.types import Attributes, AttributeValue

    from oxherd.telemetry.opentelemetry.metrics import SCHEMA, SYSTEM, Metrics, error_of
except ImportError:
    raise ConfigError("OpenTelemetry is not installed; install oxherd[otel].") from None

_W3C: Final = TraceContextTextMapPropagator()


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
        self._tracer = trace.get_tracer("oxherd", tracer_provider=tracer_provider, schema_url=SCHEMA)
        self._metrics = Metrics(meter_provider) if metrics else None
        self._one_trace = one_trace
        self._safely = _Safely(herd.signals.on_error)
        herd.signals.tracer = self

    def sending(self, event: str, ids: Sequence[str]) -> _Sending:
        """Begin the span of a send."""
        span = trace.INVALID_SPAN
        with self._safely:
            span = self._tracer.start_span(
                f"send {event}", kind=SpanKind.PRODUCER, attributes=_attributes("send", event)
            )
        return _Sending(self._safely, self._metrics, span, event, ids)

    def handling(self, context: EventContext) -> _Handling:
        """Begin the span of a handler's run, and make it the current one."""
        span, began = trace.INVALID_SPAN, time.time_ns()
        with self._safely:
            span = self._started(context.event, context.lineage.trace, began)
        within = trace.set_span_in_context(_HandlerSpan(span), Context())
        otel.attach(within)
        return _Handling(self._safely, self._metrics, span, within, began)

    def resume(self, sender: TraceContext | None) -> None:
        """Make a span elsewhere the current one."""
        otel.attach(_context_of(sender))

    def _started(self, event: str, carried: TraceContext | None, began: int) -> Span:
        remote = _context_of(carried)
        sender = trace.get_current_span(remote).get_span_context()
        return self._tracer.start_span(
            f"process {event}",
            remote if self._one_trace else Context(),  # never that of whoever started the worker
            kind=SpanKind.CONSUMER,
            attributes=_attributes("process", event),
            links=[Link(sender)] if sender.is_valid else (),
            start_time=began,
        )


class _Safely:
    """Reports what the user's samplers, processors and views raise, which must not stop the queue."""

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


class _Sending:
    """One send."""

    def __init__(self, safely: _Safely, metrics: Metrics | None, span: Span, event: str, ids: Sequence[str]) -> None:
        self._safely = safely
        self._metrics = metrics
        self._span = span
        self._event = event
        self._ids = ids
        self.trace = _trace_of(span)

    def end(self, failures: Sequence[BaseException]) -> None:
        """Count it and end its span."""
        with self._safely:
            if self._metrics is not None:
                self._metrics.sent(self._event, len(self._ids) - len(failures), failures)
        if not self._span.is_recording():
            return
        with self._safely:
            self._describe(failures)
        with self._safely:
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
            # Our messages hold no payload; nobody knows what others' hold.
            self._span.set_status(Status(StatusCode.ERROR, str(error) if isinstance(error, OxherdError) else None))
        self._span.set_attributes(attributes)


class _Handling:
    """One run of a handler; `within` holds its span."""

    def __init__(self, safely: _Safely, metrics: Metrics | None, span: Span, within: Context, began: int) -> None:
        self._safely = safely
        self._metrics = metrics
        self._span = span
        self._within = within
        self._began = began

    @property
    def trace(self) -> TraceContext | None:
        return _trace_of(self._span)

    def ended(self, ended: EventEnded) -> None:
        """Count it, time it and end its span."""
        with self._safely:
            if self._metrics is not None:
                self._metrics.handled(ended, self._within)
        if not self._span.is_recording():  # not sampled, or ended by the handler
            return
        with self._safely:
            self._describe(ended)
        with self._safely:
            # The outcome's way to Redis is not the handler's time.
            self._span.end(self._began + round(ended.duration_ms * 1e6))

    def _describe(self, ended: EventEnded) -> None:
        attributes: dict[str, AttributeValue] = {
            "messaging.message.id": ended.event_id,
            "oxherd.attempt": ended.attempt,
            "oxherd.fence": ended.fence,
            "oxherd.outcome": ended.outcome,
        }
        if ended.root is not None:
            attributes["messaging.message.conversation_id"] = ended.root
        error = error_of(ended)
        if error is not None:
            attributes["error.type"] = error
            # The log's message, which is scrubbed; `record_exception` would write the original.
            self._span.set_status(Status(StatusCode.ERROR, ended.error.message if ended.error is not None else None))
        self._span.set_attributes(attributes)


class _HandlerSpan(Span):
    """A handler's span as the handler sees it: of an exception that it records there, only the type is kept, since
    message and stack may hold what the log does not show."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: ARG002 - OpenTelemetry's signature
    ) -> None:
        of_type = {"exception.type": type(exception).__qualname__}
        self._span.add_event("exception", of_type | dict(attributes or {}), timestamp)

    def end(self, end_time: int | None = None) -> None:
        self._span.end(end_time)

    def get_span_context(self) -> SpanContext:
        return self._span.get_span_context()

    def is_recording(self) -> bool:
        return self._span.is_recording()

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        self._span.set_attributes(attributes)

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        self._span.set_attribute(key, value)

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        self._span.add_event(name, attributes, timestamp)

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        self._span.add_link(context, attributes)

    def update_name(self, name: str) -> None:
        self._span.update_name(name)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        self._span.set_status(status, description)


def _attributes(operation: str, event: str) -> dict[str, Any]:
    return {
        "messaging.system": SYSTEM,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": event,
    }


def _context_of(carried: TraceContext | None) -> Context:
    """A context in which the span that sent an event is the current one."""
    if carried is None:
        return Context()
    return _W3C.extract({"traceparent": carried.parent, "tracestate": carried.state}, Context())


def _trace_of(span: Span) -> TraceContext | None:
    """A span's place, as it goes along with events."""
    headers: dict[str, str] = {}
    _W3C.inject(headers, trace.set_span_in_context(span, Context()))
    return parse_trace_context(headers.get("traceparent"), headers.get("tracestate"))
