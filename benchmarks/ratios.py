"""oxherd's figures over the others', the first thing that a reader wants."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.results import Results
from benchmarks.tables import number

_OURS = "oxherd"
_NAMED = ("bullmq-node", "bull-node", "bullmq-python")
_RATES = (
    ("drain", "", "drained, no-op handler, each at its best concurrency up to 100"),
    ("io", "", "drained, handler that waits 10 ms, each as wide as it sensibly goes"),
    ("emit", "one", "emitted one by one"),
    ("emit", "gather", "emitted 100 at once"),
    ("emit", "bulk", "emitted in bulk"),
    ("emit", "one-sync", "emitted one by one from sync code"),
    ("emit", "threads-sync", "the same from eight threads"),
    ("emit", "bulk-sync", "emitted in bulk from sync code"),
)
_LATENCIES = ("p50", "p99", "p99.9")


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
    for measurement, case, what in _RATES:
        found = {key: rate for key in results.systems if (rate := _best(results, measurement, key, case)) is not None}
        yield from _row(results, columns, f"{what}, events/s", found, True, 0)


def _latencies(results: Results, columns: list[str]) -> Iterator[str]:
    for name in _LATENCIES:
        found = {
            key: value for key in results.systems if (value := results.median("latency", key, "idle", name)) is not None
        }
        yield from _row(results, columns, f"idle latency, {name}, ms", found, False, 2)


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


def _best(results: Results, measurement: str, key: str, case: str) -> float | None:
    cases = [case] if case else sorted({one["case"] for one in results.samples if one["measurement"] == measurement})
    medians = [value for one in cases if (value := results.median(measurement, key, one, "rate")) is not None]
    return max(medians, default=None)
