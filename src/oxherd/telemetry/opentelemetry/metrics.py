"""Metrics by OpenTelemetry's semantic conventions for messaging."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from opentelemetry import metrics
from opentelemetry.context import Context

from oxherd.signals import EventEnded, EventExpired
from oxherd.telemetry.opentelemetry.conventions import SCHEMA, common_attributes, error_type

# In seconds, as the conventions advise.
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)


class Metrics:
    """Counts sent and processed events, and times handlers."""

    def __init__(self, provider: metrics.MeterProvider | None) -> None:
        meter = metrics.get_meter("oxherd", meter_provider=provider, schema_url=SCHEMA)
        self._sent = meter.create_counter("messaging.client.sent.messages", "{message}", "Events that were to be sent.")
        self._processed = meter.create_counter(
            "messaging.client.consumed.messages", "{message}", "Events given to a handler."
        )
        self._expired = meter.create_counter(
            "oxherd.expired.events", "{event}", "Events that expired before they began."
        )
        self._durations = meter.create_histogram(
            "messaging.process.duration", "s", "How long handlers ran.", explicit_bucket_boundaries_advisory=_BUCKETS
        )

    def sent(self, event: str, acknowledged: int, failures: Sequence[BaseException]) -> None:
        """Count the events of one send."""
        attributes = common_attributes("send", event)
        if acknowledged:
            self._sent.add(acknowledged, attributes)
        for error in failures:
            self._sent.add(1, {**attributes, "error.type": type(error).__name__})

    def processed(self, ended: EventEnded, context: Context) -> None:
        """Count and time a handler's run; `context` holds its span, for exemplars."""
        attributes = common_attributes("process", ended.event)
        if (error := error_type(ended)) is not None:
            attributes["error.type"] = error
        self._processed.add(1, attributes, context)
        self._durations.record(ended.duration_ms / 1000, attributes, context)

    def expired(self, signal: EventExpired) -> None:
        """Count an event that was dropped."""
        self._expired.add(1, common_attributes("process", signal.event))
