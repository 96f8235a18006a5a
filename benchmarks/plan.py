"""What would be run and about how long it takes: `python -m benchmarks --plan`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from benchmarks.bench import Bench, Options, Run
from benchmarks.systems import System

Runs: TypeAlias = "Callable[[Bench, list[System]], Iterator[Run]]"


def plan_lines(measurements: Mapping[str, Runs], options: Options, systems: list[System]) -> Iterator[str]:
    """A line for each case on each server, with the time that it takes in all rounds, and the sum."""
    bench = Bench({}, options, Path())
    found: dict[tuple[str, str, str], list[Run]] = {}
    for bench.round in range(1, options.rounds + 1):
        for runs in measurements.values():
            for run in runs(bench, systems):
                found.setdefault((run.measurement, run.case, run.server), []).append(run)
    for (measurement, case, server), runs_of_case in found.items():
        keys = ", ".join(dict.fromkeys(run.system.key for run in runs_of_case))
        yield f"{measurement:8} {case:12} {server:7} {_seconds(runs_of_case):5.0f} s  {keys}"
    every = [run for runs_of_case in found.values() for run in runs_of_case]
    minutes = _seconds(every) / 60
    yield f"{len(every)} runs in {options.rounds} rounds: at most about {minutes:.0f} minutes on two cores."
    yield "Loads that a system cannot reach are left out; environments that are not there yet are made first."


def _seconds(runs: list[Run]) -> float:
    return sum(run.takes for run in runs)
