"""Reads the metrics and spans of a herd, if the packages for them are installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from oxherd.app import Oxherd
from oxherd.errors import ConfigError
from oxherd.testing.observation import Observation


class Instruments:
    """Collects the metrics and spans of a herd from now on."""

    def __init__(self, herd: Oxherd) -> None:
        self._metrics = _metrics(herd)
        self._spans = _spans(herd)

    def read(self) -> Iterator[Observation]:
        """All metrics and spans. Blocks, since it reads Redis: call it outside the event loop's thread."""
        if self._metrics is not None:
            yield Observation("the metrics", self._metrics())
        if self._spans is not None:
            yield from (Observation("a span", text) for text in self._spans())


def _metrics(herd: Oxherd) -> Callable[[], str] | None:
    try:
        from prometheus_client import CollectorRegistry, generate_latest

        from oxherd.telemetry.prometheus import Metrics
    except (ImportError, ConfigError):
        return None
    registry = CollectorRegistry()
    Metrics(herd, registry)
    return lambda: generate_latest(registry).decode()


def _spans(herd: Oxherd) -> Callable[[], list[str]] | None:
    try:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        from oxherd.telemetry.opentelemetry import Traces
    except (ImportError, ConfigError):
        return None
    exporter: Any = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    Traces(herd, provider, metrics=False)
    return lambda: [span.to_json() for span in exporter.get_finished_spans()]
