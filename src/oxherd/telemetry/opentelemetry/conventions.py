"""OpenTelemetry's semantic conventions for messaging, as spans and metrics use them."""

from __future__ import annotations

from typing import Final, Literal

from oxherd.signals import EventEnded

SCHEMA: Final = "https://opentelemetry.io/schemas/1.44.0"


def common_attributes(operation: Literal["send", "process"], event: str) -> dict[str, str]:
    """The attributes that every span and every data point carries."""
    return {
        "messaging.system": "bullmq",
        "messaging.operation.name": operation,
        "messaging.destination.name": event,
    }


def error_type(ended: EventEnded) -> str | None:
    """The type of the error that ended a run, else its outcome; None if it ended well."""
    if ended.outcome in ("completed", "requeued"):  # a requeued attempt counts as never run
        return None
    return ended.error.type if ended.error is not None else ended.outcome
