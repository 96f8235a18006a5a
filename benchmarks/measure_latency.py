"""From emit to the handler's begin: an idle worker, then one at half the load that it can drain."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.bench import Bench, RunFailed, Working
from benchmarks.measure_drain import calibrated
from benchmarks.systems import System

_IDLE_CONCURRENCY = 10
_PACE = ("0.008", "0.004")  # seconds between two events, and how much more at most
_WARM = 20  # events that make connections and are not measured
_QUANTILES = 200


def run(bench: Bench, systems: list[System]) -> None:
    """One round: idle, then half load, all systems in turns."""
    for system in systems:
        bench.attempt("latency", system, "idle", lambda system=system: _idle(bench, system))
    for system in systems:
        if not system.only_latency:
            bench.attempt("latency", system, "half load", lambda system=system: _half(bench, system))


def _idle(bench: Bench, system: System) -> dict[str, Any]:
    events = bench.options.latency_events
    concurrency = min(_IDLE_CONCURRENCY, system.most)
    with bench.worker(system, concurrency, samples=events + _WARM) as work:
        micros = _measure(bench, system, work, events, "paced", str(events), *_PACE)[0]
        sums = work.conclude(bench.server, events + _WARM)
    return sums | {"micros": micros} | _percentiles(micros)


def _half(bench: Bench, system: System) -> dict[str, Any]:
    full, concurrency = _full_load(bench, system)
    bench.server.empty()
    events = max(50, int(min(bench.options.most_events, full / 2 * bench.options.seconds)))
    with bench.worker(system, concurrency, samples=events + _WARM) as work:
        micros, answer = _measure(bench, system, work, events, "load", str(events), str(full / 2))
        sums = work.conclude(bench.server, events + _WARM)
    ordered = sorted(micros)
    spread = [ordered[round(n * (len(ordered) - 1) / _QUANTILES)] for n in range(_QUANTILES + 1)]
    pace = {"asked_rate": full / 2, "concurrency": concurrency, "rate": events / answer["seconds"], "quantiles": spread}
    found = _percentiles(micros)
    return sums | pace | found | {"said": f"{found['said']}   at {pace['rate']:,.0f} of {full / 2:,.0f} events/s"}


def _full_load(bench: Bench, system: System) -> tuple[float, int]:
    """The rate that it drains at its best concurrency, by the drains measured so far, else by a calibrating run."""
    found = [
        (statistics.median(rates), concurrency)
        for concurrency in system.concurrencies
        if (rates := bench.rates_of("drain", system, str(concurrency)))
    ]
    return max(found) if found else (calibrated(bench, system, system.most), system.most)


def _measure(
    bench: Bench, system: System, work: Working, events: int, *arguments: str
) -> tuple[list[int], dict[str, Any]]:
    """Warm the worker up, then let a producer of its own emit; the microseconds, and what the producer answered."""
    bench.produce(system, "fill", str(_WARM))
    work.wait(_WARM)
    answer = bench.produce(system, *arguments)
    work.wait(events + _WARM)
    samples = work.count.samples()
    if len(samples) != events + _WARM:
        raise RunFailed(f"{len(samples)} of {events + _WARM} latencies were recorded")
    return samples[_WARM:], answer


def _percentiles(micros: list[int]) -> dict[str, Any]:
    ordered = sorted(micros)
    found = {name: ordered[min(len(ordered) - 1, int(part * len(ordered)))] / 1000 for name, part in PERCENTILES}
    said = ", ".join(f"{name} {found[name]:.2f} ms" for name, _ in PERCENTILES)
    return found | {"said": said}


PERCENTILES = (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))
