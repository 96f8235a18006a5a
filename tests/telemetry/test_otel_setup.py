"""OpenTelemetry without its SDK, with a broken one, or not installed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from opentelemetry.context import Context as OtelContext
from opentelemetry.sdk.metrics import AlignedHistogramBucketExemplarReservoir, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult

from oxherd import Context, Keep, Oxherd
from oxherd.telemetry.opentelemetry import Traces
from tests.conformance.test_correlation import PARENT, add, options_of
from tests.harness import Records, environment
from tests.telemetry.otel import CANARY


class Broken(SpanProcessor):
    def on_start(self, span: Span, parent_context: OtelContext | None = None) -> None:
        raise RuntimeError(CANARY)


class BrokenAtEnd(SpanProcessor):
    def on_end(self, span: ReadableSpan) -> None:
        raise RuntimeError(CANARY)


class BrokenSampler(Sampler):
    def should_sample(self, *_: Any, **__: Any) -> SamplingResult:
        raise RuntimeError(CANARY)

    def get_description(self) -> str:
        return "broken"


class BrokenReservoir(AlignedHistogramBucketExemplarReservoir):
    def offer(self, *_: Any, **__: Any) -> None:
        raise RuntimeError(CANARY)


def broken_reservoir(_: object) -> Any:
    def make(**_: object) -> BrokenReservoir:
        return BrokenReservoir((1, 2))

    return make


@pytest.mark.parametrize("broken", [Broken, BrokenAtEnd, BrokenSampler, BrokenReservoir])
async def test_what_raises_in_telemetry_is_reported_and_stops_no_event(
    broken: Any, local_herd: Oxherd, records: Records
) -> None:
    @local_herd.event("broken.event")
    async def event(number: int) -> None: ...

    provider = TracerProvider(BrokenSampler() if broken is BrokenSampler else None, shutdown_on_exit=False)
    if issubclass(broken, SpanProcessor):
        provider.add_span_processor(broken())
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    views = [View(instrument_name="*", exemplar_reservoir_factory=broken_reservoir)]
    meters = MeterProvider([InMemoryMetricReader()], views=views if broken is BrokenReservoir else ())
    Traces(local_herd, provider, meters)
    async with local_herd:
        await event.emit(1)
        await local_herd.start()
        await records.wait("event.end", outcome="completed")
        await records.wait("a telemetry subscriber failed: RuntimeError")
    assert CANARY not in "".join(record.getMessage() for record in records.all)
    if broken is BrokenReservoir:
        assert len(exporter.get_finished_spans()) == 2


async def test_without_an_sdk_nothing_is_recorded_and_a_trace_goes_on(local_herd: Oxherd, records: Records) -> None:
    seen: list[Context] = []

    @local_herd.event("noop.child", keep=Keep(completed=10))
    async def child(number: int, ctx: Context) -> None:
        seen.append(ctx)

    @local_herd.event("noop.parent")
    async def parent(number: int) -> None:
        await child.emit(number)

    Traces(local_herd)
    async with local_herd:
        root = (await parent.emit(1)).id
        await add(local_herd, "noop.parent", "from-node", tm=json.dumps({"traceparent": PARENT, "tracestate": "a=b"}))
        await local_herd.start()
        await records.wait("event.end", event="noop.child", count=2)
        carried = [json.loads((await options_of(local_herd, "noop.child", ctx.id))["tm"]) for ctx in seen]
    by_root = {each["oxherd.root"]: each for each in carried}
    assert "traceparent" not in by_root.pop(str(root))
    (other,) = by_root.values()
    assert (other["traceparent"], other["tracestate"]) == (PARENT, "a=b")


# redis-py does, where it is installed: what counts is who asks.
IMPORTS = """
import builtins
found, real = [], builtins.__import__
def watched(name, by=None, *rest):
    if name.startswith("opentelemetry") and (by or {}).get("__name__", "").startswith(BY):
        found.append(by["__name__"])
    return real(name, by, *rest)
builtins.__import__ = watched
import MODULES
from oxherd import *
print(*set(found))
"""


@pytest.mark.parametrize(
    ("modules", "by"),
    [
        ("oxherd, oxherd.cli.main, oxherd.worker.executors.child", ""),
        ("oxherd.telemetry.opentelemetry", " metrics redacting_span spans"),
    ],
)
def test_oxherd_imports_opentelemetry_for_traces_only(modules: str, by: str) -> None:
    script = IMPORTS.replace("BY", "'oxherd'").replace("MODULES", modules)
    ran = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=True)
    allowed = {f"oxherd.telemetry.opentelemetry.{name}".rstrip(".") for name in by.split(" ")} if by else set[str]()
    assert set(ran.stdout.split()) == allowed


def test_without_opentelemetry_the_error_says_what_to_install() -> None:
    script = "import sys; sys.modules['opentelemetry'] = None; import oxherd.telemetry.opentelemetry"
    ran = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=False)
    assert ran.stderr.endswith("ConfigError: OpenTelemetry is not installed; install oxherd[otel].\n")
