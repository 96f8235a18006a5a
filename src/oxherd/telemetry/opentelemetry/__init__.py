"""Spans and metrics by OpenTelemetry's public API; the extra `otel`."""

from oxherd.telemetry.opentelemetry.spans import Traces as Traces
