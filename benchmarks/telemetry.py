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
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from random import Random
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import DEFAULT_ON, ParentBased, Sampler, TraceIdRatioBased
from prometheus_client import CollectorRegistry

from benchmarks.server import Server
from oxherd import ContextFilter, Event, Oxherd
from oxherd.telemetry.logs.json_formatter import JSONFormatter
from oxherd.telemetry.logs.line_handler import LineHandler
from oxherd.telemetry.opentelemetry import Traces
from oxherd.telemetry.prometheus import Metrics

# Its case, its round, its rate in events a second, and the microseconds of the processor for each.
Turn = dict[str, Any]

_CONCURRENCY = 100
_TOGETHER = 200
# A process's own luck with where things lie in memory is up to a fifth of its rate, and stays for as long as it lives.
_ROUNDS_OF_A_PROCESS = 5


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
    Traces(herd, provider, meters)


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
    """Run every case in each round, and print the medians."""
    parser = argparse.ArgumentParser("python -m benchmarks.telemetry", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--events", type=int, default=4_000, help="in each turn")
    parser.add_argument("--handler", type=float, default=0.0, metavar="US", help="microseconds that a handler computes")
    parser.add_argument("--json", action="store_true", help="one JSON object for each turn instead of the table")
    parser.add_argument("--case", choices=_CASES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case is not None:
        _serve_turns(given.case, given.handler / 1e6)
        return
    turns: list[Turn] = []
    with Server() as server:
        for first in range(0, given.rounds, _ROUNDS_OF_A_PROCESS):
            numbers = range(first, min(first + _ROUNDS_OF_A_PROCESS, given.rounds))
            with ExitStack() as stack:
                workers = {case: stack.enter_context(_Worker(case, server.url, given.handler)) for case in _CASES}
                turns += _rounds(workers, numbers, given)
    if not given.json:
        _print_table(turns)


class _Worker:
    """One case's process, which waits between its turns."""

    def __init__(self, case: str, url: str, handler: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.telemetry", "--case", case, "--handler", str(handler)],
            env=os.environ | {"OXHERD_URL": url},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        # Its input has ended, and so does it.
        self._process.communicate()

    def turn(self, events: int) -> Turn:
        """Have it emit and process so many."""
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: PT018 - both are pipes
        self._process.stdin.write(f"{events}\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline()
        if not said:
            raise SystemExit(f"A worker has ended with status {self._process.wait()}; what it wrote is above.")
        return json.loads(said)


def _rounds(workers: dict[str, _Worker], numbers: range, given: argparse.Namespace) -> Iterator[Turn]:
    for worker in workers.values():
        worker.turn(given.events)  # what happens once: connections, scripts, Python's own learning
    for number in numbers:
        # In another order each time, so that none has the same one's heat, or its own, more often than others.
        for case in Random(number).sample(list(workers), len(workers)):
            turn = workers[case].turn(given.events) | {"case": case, "round": number, "events": given.events}
            if given.json:
                print(json.dumps(turn), flush=True)
            yield turn
        if not given.json:
            print(f"round {number + 1} of {given.rounds}", file=sys.stderr, flush=True)


def _serve_turns(case: str, compute_seconds: float) -> None:
    herd = Oxherd(prefix=f"bull-{list(_CASES).index(case)}")
    _set_up_logging()
    _CASES[case](herd)
    # When the first of them began and the last had ended: the clock's time, and the process's.
    times: list[tuple[float, float]] = []
    left = 0

    async def handler(_: dict[str, int]) -> None:
        nonlocal left
        if not times:
            times.append((time.perf_counter(), time.process_time()))
        until = time.perf_counter() + compute_seconds
        while time.perf_counter() < until:
            pass
        left -= 1
        if not left:
            times.append((time.perf_counter(), time.process_time()))
            os.kill(os.getpid(), signal.SIGTERM)

    event = herd.event("noop", concurrency=_CONCURRENCY)(handler)
    for line in sys.stdin:
        events = left = int(line)
        asyncio.run(_emit(herd, event, events, singly=case == _EACH_ITS_OWN))
        # As a worker's process runs.
        herd.run()
        (began, cpu_before), (end, cpu_after) = times
        times.clear()
        print(
            json.dumps({"rate": events / (end - began), "cpu_us": 1e6 * (cpu_after - cpu_before) / events}), flush=True
        )


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


def _print_table(turns: list[Turn]) -> None:
    # Each with the first case's turn of the same round: what neighbours on the host take changes with the seconds.
    print(f"\n{'':52}{'events/s':>9}{'of the first':>14}{'half of the rounds':>20}{'its µs an event':>17}")
    rates: dict[str, list[float]] = {case: [turn["rate"] for turn in turns if turn["case"] == case] for case in _CASES}
    for case, found in rates.items():
        ratios = sorted(rate / first for rate, first in zip(found, next(iter(rates.values())), strict=True))
        low, high = ratios[len(ratios) // 4], ratios[(3 * len(ratios) - 1) // 4]
        cpu = statistics.median(turn["cpu_us"] for turn in turns if turn["case"] == case)
        of_first, half = f"{statistics.median(ratios):.0%}", f"{low:.0%} to {high:.0%}"
        print(f"{case:52}{statistics.median(found):9,.0f}{of_first:>14}{half:>20}{cpu:17.1f}")


if __name__ == "__main__":
    main()
