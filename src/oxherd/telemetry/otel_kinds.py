"""What spans and metrics say of events, by OpenTelemetry's semantic conventions for messaging, version 1.44."""

from __future__ import annotations

from typing import Any, Final

from opentelemetry.trace import Span, Status, StatusCode
from opentelemetry.util.types import Attributes

from oxherd.signals import EventEnded

SCHEMA: Final = "https://opentelemetry.io/schemas/1.44.0"
# How often it is looked whether an SDK has been set up.
LOOK_SECONDS: Final = 1.0
_SYSTEM: Final = "bullmq"
# An attempt that is begun again as if nothing had been is no error.
_WELL: Final = ("completed", "requeued")


class Kind:
    """The spans of one operation with one event: their name, and the attributes that they begin with."""

    def __init__(self, operation: str, event: str) -> None:
        self.name = f"{operation} {event}"
        self.attributes: dict[str, Any] = {
            "messaging.system": _SYSTEM,
            "messaging.operation.name": operation,
            "messaging.operation.type": operation,
            "messaging.destination.name": event,
        }


class Kinds(dict[str, Kind]):
    """The kinds of one operation, by event."""

    def __init__(self, operation: str) -> None:
        self._operation = operation

    def __missing__(self, event: str) -> Kind:
        kind = self[event] = Kind(self._operation, event)
        return kind


def error_of(ended: EventEnded) -> str | None:
    """The type of the error that a run ended with, else its outcome; None where it ended well."""
    if ended.outcome in _WELL:
        return None
    return ended.error.type if ended.error is not None else ended.outcome


def describe(attributes: dict[str, Any], ended: EventEnded) -> Status | None:
    """Add to a span's attributes what became of the run; the status, where that was an error."""
    attributes["messaging.message.id"] = ended.event_id
    attributes["oxherd.attempt"] = ended.attempt
    attributes["oxherd.fence"] = ended.fence
    attributes["oxherd.outcome"] = ended.outcome
    if ended.root is not None:
        attributes["messaging.message.conversation_id"] = ended.root
    if ended.outcome == "completed":  # before a call: it is nearly all of them
        return None
    error = error_of(ended)
    if error is None:
        return None
    attributes["error.type"] = error
    # The log's own: scrubbed. Not `record_exception`, which writes the message as it was.
    return Status(StatusCode.ERROR, ended.error.message if ended.error is not None else None)


def record_type(
    span: Span,
    exception: BaseException,
    attributes: Attributes = None,
    timestamp: int | None = None,
    escaped: bool = False,  # noqa: ARG001 - OpenTelemetry's signature
) -> None:
    """A handler's span's `record_exception`: of its type alone, since message and stack may hold what the log does not
    show."""
    of = {"exception.type": type(exception).__qualname__, **(attributes or {})}
    span.add_event("exception", of, timestamp)


def measured(operation: str, event: str, error: str | None) -> dict[str, str]:
    """The attributes under which an event is counted and timed."""
    attributes = {
        "messaging.system": _SYSTEM,
        "messaging.operation.name": operation,
        "messaging.destination.name": event,
    }
    return attributes if error is None else attributes | {"error.type": error}
