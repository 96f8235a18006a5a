"""What a backlog changes: the rate with 10^3 to 10^6 events waiting, the worker's memory, the server's memory."""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from benchmarks.bench import Bench, Run
from benchmarks.measure_drain import drain
from benchmarks.systems import System

DEFAULT_SYSTEMS = ("oxherd", "bullmq-node")

_SMALL = 1000
_REPEATS = 20
_FIRST = 50_000  # events of a large backlog over which its rate is given too
_SERIES = 0.5  # seconds between two samples of count and memory


def runs(bench: Bench, systems: list[System]) -> Iterator[Run]:
    """One round; a million only in the first one, for its length."""
    sizes = [_SMALL, 10_000] if bench.options.quick else [_SMALL, 10_000, 100_000, 1_000_000]
    for size in sizes if bench.round == 1 else sizes[:-1]:
        for system in systems:
            if system.key not in (bench.options.growth_systems or DEFAULT_SYSTEMS) or system.only_latency:
                continue
            measure = _repeated if size == _SMALL else _whole
            takes = 8.0 if size == _SMALL else 1.0 + size / 9_000
            yield Run("growth", system, str(size), takes, partial(measure, bench, system, size))


def _repeated(bench: Bench, system: System, size: int) -> dict[str, Any]:
    """A small backlog again and again for one live worker, which is held while it is filled."""
    repeats = 3 if bench.options.quick else _REPEATS
    timed, seconds = 0, 0.0
    with bench.worker(system, system.most) as work:
        bench.produce(system, "fill", str(size))
        work.wait(size)
        for repeat in range(1, repeats + 1):
            work.tree.signal(signal.SIGSTOP)
            bench.produce(system, "fill", str(size))
            before = work.count.total()
            work.tree.signal(signal.SIGCONT)
            first = work.wait(before + 1, every=0.0005)
            timed -= work.count.total()
            ended = work.wait((repeat + 1) * size, every=0.0005)
            timed += (repeat + 1) * size
            seconds += ended - first
        sums = work.conclude(bench.server, (repeats + 1) * size)
    rate = timed / seconds
    said = f"{rate:9,.0f} events/s   ({repeats} times {size:,} events)"
    return sums | {"timed": timed, "seconds": seconds, "rate": rate, "said": said}


def _whole(bench: Bench, system: System, size: int) -> dict[str, Any]:
    """A backlog drained to its end, with the bytes that each waiting event takes."""
    bytes_each = _bytes_each(bench, system, size)
    sample = drain(bench, system, system.most, size, series_every=_SERIES)
    first = _rate_of_first(sample["series"], min(_FIRST, size // 2))
    said = f"{sample['said']}   first {first or 0:,.0f} events/s, {bytes_each:.0f} bytes each"
    return sample | {"first_rate": first, "bytes_each": bytes_each, "said": said}


def _bytes_each(bench: Bench, system: System, size: int) -> float:
    some = min(size, 100_000)
    before = bench.server.used_memory()
    bench.fill(system, some)
    grown = bench.server.used_memory() - before
    bench.server.empty()
    time.sleep(0.1)
    return grown / some


def _rate_of_first(series: list[tuple[float, int, int]], events: int) -> float | None:
    """Events a second over the first so many, between the two samples around that count."""
    for earlier, later in itertools.pairwise(series):
        if later[1] - series[0][1] >= events:
            part = (events + series[0][1] - earlier[1]) / (later[1] - earlier[1])
            return events / (earlier[0] + part * (later[0] - earlier[0]) - series[0][0])
    return None
