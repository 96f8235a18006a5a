"""From emit to the handler's begin: an idle worker, then one at loads that are the same for every system."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from functools import partial
from typing import Any

from benchmarks.bench import Bench, LeftOut, Run, RunFailed, Working
from benchmarks.measure_drain import calibrated
from benchmarks.systems import System

REACHED = 0.95  # the part of a load that its producer must emit, else the run does not count

PERCENTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}

_IDLE_CONCURRENCY = 10
_PACE = ("0.008", "0.004")  # seconds between two events, and how much more at most
_WARM = 20  # events that make connections and are not measured: as many for the worker, and by the producer itself
_LEAST_EVENTS = 2000
_QUANTILES = 200


def runs(bench: Bench, systems: list[System]) -> Iterator[Run]:
    """One round: idle, then every load from the lowest on, all systems in turns."""
    idle = bench.options.latency_events
    for system in systems:
        yield Run("latency", system, "idle", idle * 0.0105 + 1.5, partial(_idle, bench, system))
    for load in bench.options.loads:
        for system in systems:
            if not system.only_latency:
                takes = _events(bench, load) / load + 3.0
                yield Run("latency", system, str(load), takes, partial(_loaded, bench, system, load))


def _idle(bench: Bench, system: System) -> dict[str, Any]:
    events = bench.options.latency_events
    concurrency = min(_IDLE_CONCURRENCY, system.most)
    micros, _, sums = _measure(bench, system, concurrency, events, "paced", str(events), *_PACE)
    return sums | {"micros": micros} | _percentiles(micros)


def _loaded(bench: Bench, system: System, load: int) -> dict[str, Any]:
    concurrency = _concurrency_for(bench, system, load)
    bench.server.empty()
    events = _events(bench, load)
    micros, answer, sums = _measure(bench, system, concurrency, events, "load", str(events), str(load))
    rate = events / answer["seconds"]
    if rate < REACHED * load:
        raise LeftOut(f"its producer reached {rate:,.0f} of {load:,} events/s")
    ordered = sorted(micros)
    spread = [ordered[round(n * (len(ordered) - 1) / _QUANTILES)] for n in range(_QUANTILES + 1)]
    found = _percentiles(micros)
    said = f"{found['said']}   at {rate:,.0f} events/s, concurrency {concurrency}"
    return sums | found | {"concurrency": concurrency, "rate": rate, "quantiles": spread, "said": said}


def _events(bench: Bench, load: int) -> int:
    """Two seconds of that load, and at least so many that 20 of them are above p99."""
    return max(50, load // 10) if bench.options.quick else max(_LEAST_EVENTS, int(load * bench.options.seconds))


def _concurrency_for(bench: Bench, system: System, load: int) -> int:
    """The concurrency at which the system drains most; raises LeftOut where the load is beyond what it can do."""
    for one in bench.left_out:
        if one["system"] == system.key and int(one["case"]) <= load:
            raise LeftOut(one["reason"])
    drained, concurrency = _most_drained(bench, system)
    if drained < load:
        raise LeftOut(f"it drains {drained:,.0f} events/s")
    mode = "gather" if "gather" in system.emits else "one-sync"
    emitted = bench.rates_of("emit", system, mode)
    if emitted and statistics.median(emitted) < load:
        raise LeftOut(f"it emits {statistics.median(emitted):,.0f} events/s")
    return concurrency


def _most_drained(bench: Bench, system: System) -> tuple[float, int]:
    """Its rate at its best concurrency, by the drains measured so far, else by a calibrating run; decided once."""
    if system.key not in bench.most_drained:
        found = [
            (statistics.median(rates), concurrency)
            for concurrency in system.concurrencies
            if (rates := bench.rates_of("drain", system, str(concurrency)))
        ]
        most = max(found) if found else (calibrated(bench, system, system.most), system.most)
        bench.most_drained[system.key] = most
    return bench.most_drained[system.key]


def _measure(
    bench: Bench, system: System, concurrency: int, events: int, *arguments: str
) -> tuple[list[int], dict[str, Any], dict[str, int]]:
    """Warm a worker up, then let a producer of its own emit: microseconds, what the producer answered, the counts."""
    total = events + 2 * _WARM
    with bench.worker(system, concurrency, samples=total) as work:
        bench.produce(system, "fill", str(_WARM))
        work.wait(_WARM)
        answer = bench.produce(system, *arguments, str(_WARM))
        work.wait(total)
        samples = _samples(work, total)
        sums = work.conclude(bench.server, total)
    return samples[2 * _WARM :], answer, sums


def _samples(work: Working, total: int) -> list[int]:
    samples = work.count.samples()
    if len(samples) != total:
        raise RunFailed(f"{len(samples)} of {total} latencies were recorded")
    return samples


def _percentiles(micros: list[int]) -> dict[str, Any]:
    ordered = sorted(micros)
    found = {
        name: ordered[min(len(ordered) - 1, int(part * len(ordered)))] / 1000 for name, part in PERCENTILES.items()
    }
    said = ", ".join(f"{name} {found[name]:.2f} ms" for name in PERCENTILES)
    return found | {"said": said}
