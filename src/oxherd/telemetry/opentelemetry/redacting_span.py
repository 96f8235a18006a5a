"""The span that a handler sees as its current one."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.trace import Span, SpanContext, Status, StatusCode
from opentelemetry.util.types import Attributes, AttributeValue

from oxherd.context import Context as EventContext


class RedactingSpan(Span):
    """Passes everything on to a span, but of a recorded exception only the type, and a status's description redacted:
    OpenTelemetry's helpers put an error's message there, which may hold what the log does not show."""

    def __init__(self, span: Span, context: EventContext) -> None:
        self._span = span
        self._context: EventContext | None = context

    def forget_event(self) -> None:
        """Break the cycle with its event's context, so that freeing it needs no garbage collection."""
        self._context = None

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
        if isinstance(status, Status):
            status, description = status.status_code, status.description
        redactor = None if self._context is None else self._context.redactor
        self._span.set_status(status, redactor.redact(description) if redactor and description else None)
