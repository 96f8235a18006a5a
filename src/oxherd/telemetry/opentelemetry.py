"""Spans and metrics of OpenTelemetry; needs the extra `oxherd[otel]`, which the rest of oxherd never imports.

Names are those of the semantic conventions for messaging, version 1.44.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import proxy

from oxherd.app import Oxherd
from oxherd.carrier import Trace
from oxherd.context import Context as EventContext
from oxherd.context import current
from oxherd.errors import ConfigError, OxherdError
from oxherd.signals import EventEnded, Handling

try:
    from opentelemetry import context as otel
    from opentelemetry import trace
    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode

    from oxherd.telemetry.otel_kinds import LOOK_SECONDS, SCHEMA, Kind, Kinds, describe, record_type
    from oxherd.telemetry.otel_metrics import metrics_of
    from oxherd.telemetry.otel_places import SPAN_KEY, make_current, sender_of, trace_of, within
except ImportError:
    raise ConfigError("OpenTelemetry is not installed; install oxherd[otel].") from None

if TYPE_CHECKING:
    from oxherd.telemetry.otel_spans import Spans

# For so long it is not looked again whether processors have been added: it costs as much as the span.
_CHECKED_NS: Final = 1_000_000

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
        self._tracer = trace.get_tracer("oxherd", tracer_provider=tracer_provider, schema_url=SCHEMA)
        self._spans: Spans | None = None
        self._look_at = 0.0
        self.on_error = herd.signals.on_error
        self.one_trace = one_trace
        self._metrics = metrics_of(meter_provider, self.on_error) if metrics else None
        self.measure = self._metrics.take if self._metrics is not None else _ignore
        self._send = Kinds("send")
        self._process = Kinds("process")
        herd.signals.tracer = self

    def sending(self, event: str, ids: Sequence[str]) -> _Sending:
        """Begin the span of a send: one for all events that go together."""
        kind = self._send[event]
        span = self.safely(
            lambda: self._tracer.start_span(kind.name, kind=SpanKind.PRODUCER, attributes=kind.attributes)
        )
        return _Sending(self, span or trace.INVALID_SPAN, event, ids)

    def handling(self, context: EventContext) -> Handling:
        """Begin the span of a handler's run."""
        kind, carried, began = self._process[context.event], context.carrier, time.time_ns()
        try:
            spans = self._spans or self._own_spans()
            if spans is not None and (0 <= began - spans.checked_ns < _CHECKED_NS or spans.fit(began)):
                handling = span = spans.start(kind, carried, began)
            else:
                span = self._started(kind, carried.trace, began)
                handling = _Handling(self, span, began)
        except Exception as error:  # noqa: BLE001 - as `safely`
            self.on_error(error)
            span = trace.INVALID_SPAN
            handling = _Handling(self, span, began)
        make_current(Context({SPAN_KEY: span}))
        return handling

    def _started(self, kind: Kind, place: Trace | None, began: int) -> Span:
        """A span of the tracer's own; not in the context of whoever has started the worker."""
        sender, links = sender_of(place)
        parent = sender if self.one_trace else None
        span = self._tracer.start_span(
            kind.name, within(parent), SpanKind.CONSUMER, kind.attributes, links, start_time=began
        )
        if span.is_recording():
            with suppress(AttributeError, TypeError):  # another implementation's may refuse
                # Of this span alone; by a proxy, or it would be left to the garbage collector.
                setattr(span, "record_exception", partial(record_type, proxy(span)))  # noqa: B010
        return span

    def _own_spans(self) -> Spans | None:
        """Ours, once there is an SDK behind the tracer: a global one may be set at any time."""
        if self._spans is None and (now := time.monotonic()) >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            tracer = trace.get_tracer("oxherd", tracer_provider=self._provider, schema_url=SCHEMA)
            self._spans = _spans_of(self, tracer)
        return self._spans

    def going_on(self, place: Trace | None) -> _Current:
        """Around a handler in a process of its own, whose span is its worker's."""
        return _Current(within(sender_of(place)[0]))

    def sent(self, event: str, count: int, failures: Sequence[BaseException]) -> None:
        """Count what was sent, and what was not."""
        if self._metrics is not None:
            self._metrics.sent(event, count, failures)

    def safely(self, call: Callable[[], T]) -> T | None:
        """Call what may run samplers, processors and views of the user's: one that raises must not stop the queue."""
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - see above
            self.on_error(error)
            return None


class _Sending:
    """One send."""

    def __init__(self, traces: Traces, span: Span, event: str, ids: Sequence[str]) -> None:
        self._traces = traces
        self._span = span
        self._event = event
        self._ids = ids
        self.trace = trace_of(span)

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
        return trace_of(self._span)

    def ended(self, ended: EventEnded) -> None:
        self._traces.measure(ended, self._span)
        try:
            if self._span.is_recording():
                attributes: dict[str, Any] = {}
                status = describe(attributes, ended)
                if status is not None:
                    self._span.set_status(status)
                self._span.set_attributes(attributes)
            # The outcome's way to Redis is not the handler's time.
            self._span.end(self._began + round(ended.duration_ms * 1e6))
        except Exception as failure:  # noqa: BLE001 - as `Traces.safely`
            self._traces.on_error(failure)


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


def _ignore(ended: EventEnded, span: Span) -> None:
    """No numbers are wanted."""


def _spans_of(traces: Traces, tracer: trace.Tracer) -> Spans | None:
    """Our own spans, where the tracer is the SDK's."""
    try:
        # Not at the top: the API alone may be installed, and an SDK may be another one inside than it was.
        from oxherd.telemetry.otel_spans import spans_of
    except ImportError:
        return None
    return spans_of(tracer, one_trace=traces.one_trace, measure=traces.measure, on_error=traces.on_error)
