"""Spans and metrics by OpenTelemetry's public API; needs the extra `oxherd[otel]`. Begin with `spans`."""

from oxherd.errors import ConfigError

try:
    from opentelemetry import trace as trace
except ImportError:
    raise ConfigError("OpenTelemetry is not installed; install oxherd[otel].") from None

from oxherd.telemetry.opentelemetry.spans import Traces as Traces
