"""The rate with handlers that wait 10 ms, as many at once as the system sensibly can."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from benchmarks.bench import Bench, Run
from benchmarks.measure_drain import drain, sized
from benchmarks.systems import System


def runs(bench: Bench, systems: list[System]) -> Iterator[Run]:
    """One round of all systems."""
    takes = bench.options.seconds + 4.5
    for system in systems:
        if not system.only_latency:
            yield Run("io", system, str(system.io_concurrency), takes, partial(_waiting, bench, system))


def _waiting(bench: Bench, system: System) -> dict[str, Any]:
    events = sized(bench, system, system.io_concurrency, "io")
    bench.server.empty()
    return drain(bench, system, system.io_concurrency, events, "io")
