"""`python -m benchmarks.telemetry`: what logs, metrics and traces take of an event, in turns on one server."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import DEFAULT_ON, ParentBased, Sampler, TraceIdRatioBased
from prometheus_client import CollectorRegistry

from benchmarks.server import Server
from oxherd import ContextFilter, Event, Oxherd
from oxherd.telemetry.format import JSONFormatter
from oxherd.telemetry.handler import LineHandler
from oxherd.telemetry.opentelemetry import Traces
from oxherd.telemetry.prometheus import Metrics

_CONCURRENCY = 100
_TOGETHER = 200


class _Dropped(SpanExporter):
    """Takes spans and does nothing: what an exporter costs is its own."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002 - the SDK's signature
        return SpanExportResult.SUCCESS


def _prometheus(herd: Oxherd) -> None:
    Metrics(herd, CollectorRegistry())


def _traces(
    herd: Oxherd, sampler: Sampler = DEFAULT_ON, meters: MeterProvider | None = None, *, batches: bool = True
) -> None:
    provider = TracerProvider(sampler=sampler)
    # No span is dropped: each is made and handed over.
    batch = BatchSpanProcessor(_Dropped(), max_queue_size=1_000_000) if batches else None
    provider.add_span_processor(batch or SimpleSpanProcessor(_Dropped()))
    Traces(herd, provider, meters, metrics=meters is not None)


def _both(herd: Oxherd) -> None:
    _prometheus(herd)
    _traces(herd)


def _without_batches(herd: Oxherd) -> None:
    _prometheus(herd)
    _traces(herd, batches=False)


def _sampled(herd: Oxherd) -> None:
    _prometheus(herd)
    _traces(herd, ParentBased(TraceIdRatioBased(0.01)))


def _all_otel(herd: Oxherd) -> None:
    _traces(herd, meters=MeterProvider([InMemoryMetricReader()]))


_EACH_ITS_OWN = "and Prometheus, every trace, each event's own"
# The first is what the others are compared with.
_CASES: dict[str, Callable[[Oxherd], None]] = {
    "the log alone": lambda _: None,
    "and Prometheus": _prometheus,
    "and Prometheus, traces of 1 %": _sampled,
    "and Prometheus, every trace, exported without batches": _without_batches,
    "and Prometheus, every trace": _both,
    _EACH_ITS_OWN: _both,
    "and OpenTelemetry's metrics, every trace": _all_otel,
}


def main() -> None:
    """Run every case in each round, and print the medians and the best."""
    parser = argparse.ArgumentParser("python -m benchmarks.telemetry", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=int, default=30_000, help="in each run")
    parser.add_argument("--handler", type=float, default=0.0, metavar="US", help="microseconds that a handler computes")
    parser.add_argument("--json", action="store_true", help="one JSON object for each run instead of the table")
    parser.add_argument("--case", choices=_CASES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case is not None:
        print(json.dumps(_run(given.case, given.events, given.handler / 1e6)))
        return
    runs: list[dict[str, float | str]] = []
    for number in range(given.rounds):
        # Each way in turn, so that none has the others' heat each time.
        cases = list(_CASES)[:: -1 if number % 2 else 1]
        runs += _round(cases, given.events, given.handler, given.json)
    if not given.json:
        _print_table(runs)


def _round(cases: list[str], events: int, handler: float, as_json: bool) -> list[dict[str, float | str]]:
    runs: list[dict[str, float | str]] = []
    for case in cases:
        with Server() as server:
            options = ["--case", case, "--events", str(events), "--handler", str(handler)]
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.telemetry", *options],
                env=os.environ | {"OXHERD_URL": server.url},
                stdout=subprocess.PIPE,
                check=True,
            )
        runs.append(json.loads(done.stdout))
        said = done.stdout.decode().strip() if as_json else f"{runs[-1]['rate']:9,.0f} events/s  {case}"
        print(said, flush=True)
    return runs


def _run(case: str, events: int, compute_seconds: float) -> dict[str, float | str]:
    herd = Oxherd()
    _set_up_logging()
    _CASES[case](herd)
    # When the first of them began and the last had ended: the clock's time, and the process's.
    times: list[tuple[float, float]] = []
    ended = 0

    async def handler(_: dict[str, int]) -> None:
        nonlocal ended
        if not times:
            times.append((time.perf_counter(), time.process_time()))
        until = time.perf_counter() + compute_seconds
        while time.perf_counter() < until:
            pass
        ended += 1
        if ended == events:
            times.append((time.perf_counter(), time.process_time()))
            os.kill(os.getpid(), signal.SIGTERM)

    event = herd.event("noop", concurrency=_CONCURRENCY)(handler)
    asyncio.run(_emit(herd, event, events, singly=case == _EACH_ITS_OWN))
    # As a worker's process runs.
    herd.run()
    (began, cpu_before), (end, cpu_after) = times
    return {
        "case": case,
        "events": events,
        "rate": events / (end - began),
        "cpu_us": 1e6 * (cpu_after - cpu_before) / events,
    }


async def _emit(herd: Oxherd, event: Event[dict[str, int], None], events: int, *, singly: bool) -> None:
    payloads = [{"n": n} for n in range(events)]
    async with herd:
        if not singly:
            await event.emit_many(payloads)
            return
        for first in range(0, events, _TOGETHER):
            await asyncio.gather(*(event.emit(payload) for payload in payloads[first : first + _TOGETHER]))


def _set_up_logging() -> None:
    handler = LineHandler(os.open(os.devnull, os.O_WRONLY))
    handler.setFormatter(JSONFormatter())
    handler.addFilter(ContextFilter())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)


def _print_table(runs: list[dict[str, float | str]]) -> None:
    # The best round beside the medians: what neighbours on the host take away only ever adds.
    print(f"\n{'':52}{'events/s':>9}{'of the first':>14}{'best':>9}{'of the first':>14}{'its µs an event':>17}")
    rates = {case: [float(run["rate"]) for run in runs if run["case"] == case] for case in _CASES}
    first = next(iter(rates.values()))
    for case, found in rates.items():
        middle, best = statistics.median(found), max(found)
        cpu = min(float(run["cpu_us"]) for run in runs if run["case"] == case)
        of_middle, of_best = middle / statistics.median(first), best / max(first)
        print(f"{case:52}{middle:9,.0f}{of_middle:14.0%}{best:9,.0f}{of_best:14.0%}{cpu:17.1f}")


if __name__ == "__main__":
    main()
