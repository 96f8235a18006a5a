"""How fast one process emits: one by one, a hundred at once, in bulk; from async code, one thread and eight."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from benchmarks.bench import Bench, Run, RunFailed
from benchmarks.systems import Mode, System

MODES: tuple[Mode, ...] = ("one", "gather", "bulk", "one-sync", "threads-sync", "bulk-sync")


def runs(bench: Bench, systems: list[System]) -> Iterator[Run]:
    """One round: every way of emitting, all systems in turns."""
    seconds = max(0.2, bench.options.seconds / 3)
    for mode in MODES:
        for system in systems:
            if mode in system.emits:
                yield Run("emit", system, mode, seconds + 0.6, partial(_emit, bench, system, mode, seconds))


def _emit(bench: Bench, system: System, mode: Mode, seconds: float) -> dict[str, Any]:
    answer = bench.produce(system, "rate", mode, str(seconds))
    waiting = bench.server.left(system)
    if waiting != answer["emitted"]:
        raise RunFailed(f"{waiting} of {answer['emitted']} emitted events wait")
    rate = answer["timed"] / answer["seconds"]
    said = f"{rate:9,.0f} events/s   ({answer['timed']:,} events)"
    return {"events": answer["emitted"], "counted": waiting, "rate": rate, "said": said}
