"""How fast one worker process handles events that wait already, and what that costs in processor time."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from benchmarks.bench import Bench, Handler, Run, RunFailed, Working
from benchmarks.server import BUNDLED
from benchmarks.systems import System

_FEWEST = 200
_TURNS = 4  # that each of the handlers that wait has at least, so that making connections is not all that is timed


@dataclass
class Watch:
    """The first sight of a handled event, with the processor times then; a series of counts and memory if wanted."""

    bench: Bench
    work: Working
    every: float = math.inf
    begun: float = 0.0
    at_first: int = 0
    cpu: float = 0.0
    redis: float = 0.0
    series: list[tuple[float, int, int]] = field(default_factory=list[tuple[float, int, int]])
    _next: float = 0.0

    def __call__(self, total: int) -> None:
        now = time.perf_counter()
        if total and not self.begun:
            self.begun, self.at_first = now, total
            self.cpu, self.redis = self.work.tree.cpu_seconds(), self.bench.server.cpu_seconds()
        if self.begun and self.every < math.inf and now >= self._next:
            self.series.append((round(now - self.begun, 4), total, self.work.tree.rss()))
            self._next = now + self.every


def drain(
    bench: Bench,
    system: System,
    concurrency: int,
    events: int,
    handler: Handler = "noop",
    series_every: float = math.inf,
) -> dict[str, Any]:
    """Fill, start a worker, and time it from the first sight of a handled event to the last event."""
    bench.fill(system, events)
    with bench.worker(system, concurrency, handler) as work:
        watch = Watch(bench, work, series_every)
        ended = work.wait(events, watch=watch)
        cpu, redis = work.tree.cpu_seconds() - watch.cpu, bench.server.cpu_seconds() - watch.redis
        timed, seconds = events - watch.at_first, ended - watch.begun
        sums = work.conclude(bench.server, events)
    if timed <= 0 or seconds <= 0:
        # All within one look: too few to be timed. A calibrating run then tries more.
        return sums | {"rate": math.inf, "said": "too short"}
    return sums | {
        "timed": timed,
        "seconds": seconds,
        "rate": timed / seconds,
        "worker_us": 1e6 * cpu / timed,
        "redis_us": 1e6 * redis / timed,
        "redis_busy": redis / seconds,
        "series": watch.series,
        "said": f"{timed / seconds:9,.0f} events/s   worker {1e6 * cpu / timed:6.0f} µs,"
        f" Redis {1e6 * redis / timed:5.0f} µs an event, {100 * redis / seconds:3.0f} % busy   ({events:,} events)",
    }


def calibrated(bench: Bench, system: System, concurrency: int, handler: Handler = "noop") -> float:
    """That system's rate by a quick run."""

    def measure(events: int) -> float:
        return float(drain(bench, system, concurrency, events, handler)["rate"])

    return bench.rate(system, concurrency, handler, measure)


def sized(bench: Bench, system: System, concurrency: int, handler: Handler = "noop") -> int:
    """How many events keep that system busy for the seconds that a run is to take."""
    rate = calibrated(bench, system, concurrency, handler)
    if math.isinf(rate):
        raise RunFailed("it is too fast for the largest run")
    fewest = _TURNS * concurrency if handler == "io" else _FEWEST
    return max(fewest, min(bench.options.most_events, int(rate * bench.options.seconds)))


def runs(bench: Bench, systems: list[System]) -> Iterator[Run]:
    """One round: every concurrency on every server, all systems in turns."""
    takes = bench.options.seconds + 3.5
    for concurrency in (1, 10, 100):
        for server in bench.options.servers:
            for system in systems:
                left_out = system.only_latency or (server != BUNDLED and not system.on_every_server)
                if concurrency in system.concurrencies and not left_out:
                    measure = partial(_sized_drain, bench, system, concurrency)
                    yield Run("drain", system, str(concurrency), takes, measure, server)


def _sized_drain(bench: Bench, system: System, concurrency: int) -> dict[str, Any]:
    events = sized(bench, system, concurrency)
    bench.server.empty()
    return drain(bench, system, concurrency, events)
