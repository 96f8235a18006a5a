"""The rate with handlers that wait 10 ms, as many at once as the system sensibly can."""

from __future__ import annotations

from typing import Any

from benchmarks.bench import Bench
from benchmarks.measure_drain import drain, sized
from benchmarks.systems import System


def run(bench: Bench, systems: list[System]) -> None:
    """One round of all systems."""
    for system in systems:
        if system.only_latency:
            continue

        def once(system: System = system) -> dict[str, Any]:
            events = sized(bench, system, system.io_concurrency, "io")
            bench.server.empty()
            return drain(bench, system, system.io_concurrency, events, "io")

        bench.attempt("io", system, str(system.io_concurrency), once)
