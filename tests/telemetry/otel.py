"""What the tests of OpenTelemetry share: its own SDK, with the exporter in memory."""

from __future__ import annotations

from typing import Annotated, Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel

from oxherd import Mask
from tests.harness import until

CANARY = "canary-4111-1111"


class Order(BaseModel):
    card: Annotated[str, Mask()] = CANARY


class Collected:
    """The spans that have ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def all(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all if span.name == name]

    async def one(self, name: str) -> ReadableSpan:
        """The only one of that name."""
        await until(lambda: self.named(name))
        (span,) = self.named(name)
        return span


def context_of(span: ReadableSpan) -> Any:
    return span.get_span_context()


def parent_id(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent is not None else None
