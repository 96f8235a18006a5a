"""oxherd's figures over the others', the first thing that a reader wants."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.results import Results
from benchmarks.server import BUNDLED, REDIS
from benchmarks.tables import number

_OURS = "oxherd"
_NAMED = ("bullmq-node", "bull-node", "bullmq-python")
_DRAINS = ("10", "100")
_RATES = (
    ("io", "", "drained, handler that waits 10 ms, each as wide as it sensibly goes"),
    ("emit", "one", "emitted one by one"),
    ("emit", "gather", "emitted 100 at once"),
    ("emit", "bulk", "emitted in bulk"),
    ("emit", "one-sync", "emitted from sync code by one thread"),
    ("emit", "threads-sync", "emitted from sync code by 8 threads"),
    ("emit", "bulk-sync", "emitted from sync code in bulk"),
)
_LATENCIES = (
    *(("idle", name) for name in ("p50", "p99", "p99.9")),
    *((load, name) for load in ("1000", "8000") for name in ("p50", "p99")),
)


def ratio_lines(results: Results) -> Iterator[str]:
    """A Markdown table: a row a measurement, a column a system, and one for the fastest Python queue of each row."""
    columns = [key for key in _NAMED if key in results.systems]
    rows = [*_rates(results, columns), *_latencies(results, columns)]
    if not rows:
        yield "oxherd was not measured beside another system in this run."
        return
    titles = [*(results.title(key) for key in columns), "the best of the other Python queues"]
    yield "oxherd, with its log, ÷ ...: of rates more than 1 is better, of latencies less than 1."
    yield ""
    yield "| | oxherd | ÷ " + " | ÷ ".join(titles) + " |"
    yield "|---|---:|" + "---:|" * len(titles)
    yield from rows


def _rates(results: Results, columns: list[str]) -> Iterator[str]:
    for server in (BUNDLED, REDIS):
        for case in _DRAINS:
            what = f"drained, no-op handler, concurrency {case}, {results.server('drain', server)}, events/s"
            found = _found(results, lambda key, case=case, server=server: _rate(results, "drain", key, case, server))
            yield from _row(results, columns, what, found, True, 0)
    for measurement, case, what in _RATES:
        found = _found(results, lambda key, one=measurement, case=case: _rate(results, one, key, case))
        yield from _row(results, columns, f"{what}, events/s", found, True, 0)


def _latencies(results: Results, columns: list[str]) -> Iterator[str]:
    for case, name in _LATENCIES:
        what = "idle latency" if case == "idle" else f"latency at {int(case):,} events/s"
        found = _found(results, lambda key, case=case, name=name: results.median("latency", key, case, name))
        yield from _row(results, columns, f"{what}, {name}, ms", found, False, 2)


def _found(results: Results, value_of: Callable[[str], float | None]) -> dict[str, float]:
    """The value of each system that has one."""
    return {key: value for key in results.systems if (value := value_of(key)) is not None}


def _row(
    results: Results, columns: list[str], what: str, found: dict[str, float], highest: bool, digits: int
) -> Iterator[str]:
    ours = found.get(_OURS)
    pythons = {key: value for key, value in found.items() if results.systems[key]["kind"] == "python"}
    if ours is None or not (pythons or any(key in found for key in columns)):
        return
    cells = [f"**{ours / found[key]:.2f}** ({number(found[key], digits)})" if key in found else "" for key in columns]
    if pythons:
        key = (max if highest else min)(pythons, key=pythons.__getitem__)
        cells.append(f"**{ours / found[key]:.2f}** ({results.title(key)}, {number(found[key], digits)})")
    else:
        cells.append("")
    yield f"| {what} | {number(ours, digits)} | " + " | ".join(cells) + " |"


def _rate(results: Results, measurement: str, key: str, case: str, server: str = BUNDLED) -> float | None:
    """The median rate in that case; the best of all cases for an empty one."""
    cases = [case] if case else sorted({one["case"] for one in results.samples if one["measurement"] == measurement})
    medians = [value for one in cases if (value := results.median(measurement, key, one, "rate", server)) is not None]
    return max(medians, default=None)
