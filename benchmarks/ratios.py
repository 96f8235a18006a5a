"""oxherd's figures over the others', the first thing that a reader wants."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.results import Results
from benchmarks.tables import number

_OURS = "oxherd"
_QUIET = "oxherd-quiet"
_NAMED = ("bullmq-node", "bull-node", "bullmq-python")


def ratio_lines(results: Results) -> Iterator[str]:
    """Markdown lines: drain, waiting handlers, emit, idle latency."""
    lines = [
        *_rates(results, "drain", "drained no-op events a second, each at its best concurrency up to 100"),
        *_rates(results, "io", "handlers that wait 10 ms, each as wide as it sensibly goes"),
        *_rates(results, "emit", "emitted one by one, awaited", "one"),
        *_rates(results, "emit", "emitted 100 at once", "gather"),
        *_rates(results, "emit", "emitted in bulk", "bulk"),
        *_rates(results, "emit", "emitted one by one from sync code", "one-sync"),
        *_latencies(results),
    ]
    if lines:
        yield from ["| oxherd, with its log, ÷ ... | ratio | figures |", "|---|---:|---|", *lines]
    else:
        yield "oxherd was not measured beside another system in this run."


def _rates(results: Results, measurement: str, what: str, case: str = "") -> Iterator[str]:
    best = {key: rate for key in results.systems if (rate := _best(results, measurement, key, case)) is not None}
    ours = best.get(_OURS)
    if ours is None:
        return
    rows = [(key, results.title(key)) for key in (*_NAMED, _QUIET) if key in best]
    pythons = [key for key in best if results.systems[key]["kind"] == "python"]
    if pythons:
        fastest = max(pythons, key=lambda key: best[key])
        rows.append((fastest, f"fastest other Python queue: {results.title(fastest)}"))
    for key, title in rows:
        yield f"| {title}: {what} | **{ours / best[key]:.2f}** | {number(ours)} ÷ {number(best[key])} |"


def _best(results: Results, measurement: str, key: str, case: str) -> float | None:
    cases = [case] if case else sorted({one["case"] for one in results.samples if one["measurement"] == measurement})
    medians = [value for one in cases if (value := results.median(measurement, key, one, "rate")) is not None]
    return max(medians, default=None)


def _latencies(results: Results) -> Iterator[str]:
    for name in ("p50", "p99"):
        ours = results.median("latency", _OURS, "idle", name)
        if ours is None:
            return
        for key in (*_NAMED, "floor"):
            theirs = results.median("latency", key, "idle", name)
            if theirs is not None:
                title = results.title(key)
                yield (
                    f"| {title}: idle latency, {name} (lower is better) | **{ours / theirs:.2f}** |"
                    f" {number(ours, 2)} ÷ {number(theirs, 2)} ms |"
                )
