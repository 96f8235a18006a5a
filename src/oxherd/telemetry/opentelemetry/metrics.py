"""Metrics of OpenTelemetry, by its semantic conventions for messaging."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from opentelemetry import metrics
from opentelemetry.context import Context

from oxherd.signals import EventEnded

SCHEMA: Final = "https://opentelemetry.io/schemas/1.44.0"
SYSTEM: Final = "bullmq"
# In seconds; the conventions advise these.
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)


class Metrics:
    """Counts what is sent and handled, and times handlers."""

    def __init__(self, provider: metrics.MeterProvider | None) -> None:
        meter = metrics.get_meter("oxherd", meter_provider=provider, schema_url=SCHEMA)
        self._sent = meter.create_counter("messaging.client.sent.messages", "{message}", "Events that were to be sent.")
        self._handled = meter.create_counter(
            "messaging.client.consumed.messages", "{message}", "Events given to a handler."
        )
        self._durations = meter.create_histogram(
            "messaging.process.duration", "s", "How long handlers ran.", explicit_bucket_boundaries_advisory=_BUCKETS
        )

    def sent(self, event: str, acknowledged: int, failures: Sequence[BaseException]) -> None:
        """Count the events of one send."""
        if acknowledged:
            self._sent.add(acknowledged, _attributes("send", event, None))
        for error in failures:
            self._sent.add(1, _attributes("send", event, type(error).__name__))

    def handled(self, ended: EventEnded, context: Context) -> None:
        """Count and time a handler's run; `context` holds its span, for exemplars."""
        attributes = _attributes("process", ended.event, error_of(ended))
        self._handled.add(1, attributes, context)
        self._durations.record(ended.duration_ms / 1000, attributes, context)


def error_of(ended: EventEnded) -> str | None:
    """The type of the error that a run ended with, else its outcome; None if it ended well."""
    if ended.outcome in ("completed", "requeued"):  # a requeued attempt begins again as if it had never run
        return None
    return ended.error.type if ended.error is not None else ended.outcome


def _attributes(operation: str, event: str, error: str | None) -> dict[str, str]:
    attributes = {
        "messaging.system": SYSTEM,
        "messaging.operation.name": operation,
        "messaging.destination.name": event,
    }
    if error is not None:
        attributes["error.type"] = error
    return attributes
