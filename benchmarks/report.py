"""README.md of the results, from results.json alone: the ratios, then the tables, then how it was measured."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.environments import EnvironmentFailed, plots_python
from benchmarks.measure_latency import PERCENTILES, REACHED
from benchmarks.ratios import ratio_lines
from benchmarks.results import Results, read_results
from benchmarks.server import BUNDLED, REDIS
from benchmarks.tables import LEFT_OUT, Cell, Table, number, over, share, spread

_MODES = {
    "one": "one by one",
    "gather": "100 at once",
    "bulk": "in bulk",
    "one-sync": "sync, 1 thread",
    "threads-sync": "sync, 8 threads",
    "bulk-sync": "sync, in bulk",
}


def write_report(out: Path, *, plots: bool) -> None:
    """Write README.md, and the plots unless told otherwise.

    Raises:
        EnvironmentFailed: the plots could not be drawn; the text is written all the same.
    """
    results = read_results(out)
    for old in out.glob("*.png"):
        # None of an earlier run may stay beside these results.
        old.unlink()
    try:
        if plots:
            _draw(out)
    finally:
        drawn = sorted(file.name for file in out.glob("*.png"))
        (out / "README.md").write_text("\n".join(_report(results, drawn)) + "\n")


def _draw(out: Path) -> None:
    command = [plots_python(), str(Path(__file__).parent / "plots.py"), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise EnvironmentFailed(f"the plots failed: {(done.stderr.strip().splitlines() or ['without a word'])[-1]}")


def _report(results: Results, drawn: list[str]) -> Iterator[str]:
    yield from ["# Benchmarks", ""]
    newest = _newest(results)
    if newest is None:
        yield "Nothing was measured."
        return
    yield from [
        f"{_measured(results, newest)}.",
        "",
        "Written by `python -m benchmarks`; nothing here is edited by hand. Medians of the rounds; in brackets the",
        "lowest and highest. Every event of every run was counted; a run whose count was off stands under Failed.",
        "",
    ]
    yield from ["## Ratios", "", *ratio_lines(results), ""]
    yield from _failures(results)
    yield from _drain(results, drawn)
    yield from _emit(results, drawn)
    yield from _latency(results, drawn)
    yield from _io(results)
    yield from _growth(results, drawn)
    yield from _scale(results)
    yield from _method(results)


def _newest(results: Results) -> str | None:
    """The measurement whose date is the last one."""
    return max(results.sections, key=lambda one: results.sections[one]["date"], default=None)


def _measured(results: Results, measurement: str) -> str:
    """When and on what a section was measured."""
    section = results.sections[measurement]
    machine, options = section["machine"], section["options"]
    rounds = "1 round" if options["rounds"] == 1 else f"{options['rounds']} rounds"
    return (
        f"{section['date']}, {rounds} of runs of about {options['seconds']:g} s: {machine['cpu']},"
        f" {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['os']}, {machine['kernel']};"
        f" Python {machine['python']}, Node {machine['node']}, {results.server(measurement, BUNDLED)}"
    )


def _if_measured_apart(results: Results, measurement: str) -> list[str]:
    """A line for a section that was measured at another time, or on something else, than the page's first line says."""
    newest = _newest(results)
    if newest is None or _measured(results, measurement) == _measured(results, newest):
        return []
    return [f"Measured {_measured(results, measurement)}.", ""]


def _failures(results: Results) -> Iterator[str]:
    if not results.failures:
        return
    yield from ["## Failed", "", "| system | run | round | reason |", "|---|---|---|---|"]
    for one in results.failures:
        reason = str(one["reason"]).replace("|", "/")
        yield f"| {results.title(one['system'])} | {one['measurement']} {one['case']} | {one['round']} | {reason} |"
    yield ""


def _section(
    results: Results,
    title: str,
    measurement: str,
    columns: dict[str, tuple[str, Callable[[list[Cell]], str]]],
    *text: str,
    best_first: str = "",
) -> Iterator[str]:
    """A table of one row a system; a column is a case of the measurement and how its samples are shown."""
    table = Table(results, measurement, columns, best_first)
    if table.rows():
        yield from [f"## {title}", "", *_if_measured_apart(results, measurement), *text, "", *table.lines(), ""]


def _drain(results: Results, drawn: list[str]) -> Iterator[str]:
    if "drain" not in results.sections:
        return
    columns = {
        "concurrency 1": ("1", spread("rate")),
        "10": ("10", spread("rate")),
        "100": ("100", spread("rate")),
        "worker µs": ("100", over("worker_us", 0)),
        "Redis µs": ("100", over("redis_us", 0)),
        "Redis busy": ("100", share("redis_busy")),
    }
    text = (
        "No-op events a second, one worker process, by concurrency; processor time an event at 100 (rq: at 1). The"
        " server's name has the allocator of its memory in brackets."
    )
    yield from ["## Drain", "", *_if_measured_apart(results, "drain"), text, *_plot("drain.png", drawn), ""]
    for name in (BUNDLED, REDIS):
        table = Table(results, "drain", columns, "100", name)
        if table.rows():
            yield from [f"### On {results.server('drain', name)}", "", *table.lines(), ""]
    if not results.server("drain", REDIS):
        yield from ["Not measured on Redis: this machine had no `redis-server`, or `--servers` did not name it.", ""]


def _emit(results: Results, drawn: list[str]) -> Iterator[str]:
    columns = {title: (mode, spread("rate")) for mode, title in _MODES.items()}
    text = (
        "Events a second from one process. Bulk is by the system's own call for it, a thousand at a time. From sync"
        " code, one thread or eight of them emit one by one."
    )
    yield from _section(results, "Emit", "emit", columns, text, *_plot("emit.png", drawn), best_first="gather")


def _latency(results: Results, drawn: list[str]) -> Iterator[str]:
    if "latency" not in results.sections:
        return
    text = (
        "Milliseconds from emit to the handler's begin, across processes; medians of each round's percentile. Idle: an"
        " event every 8 to 12 ms, to a worker of concurrency 10; of some hundred of them, p99.9 is the slowest. The"
        " other columns are events a second, the same for every system, for about the time of a run and at least 2,000"
        " events (of these, p99.9 is the second slowest), to a worker of the concurrency at which the system drains"
        " most. The producer shares the processors with worker and server."
    )
    left_out = (
        f"{LEFT_OUT}: the system drains or emits fewer a second than the column says, or in some round its producer"
        f" reached less than {100 * REACHED:.0f} % of it. Higher loads are then left out too."
    )
    yield from ["## Latency", "", *_if_measured_apart(results, "latency"), text]
    yield from ["", left_out] if any(section["left_out"] for section in results.sections.values()) else []
    yield from [*_plot("latency.png", drawn), *_plot("loads.png", drawn), ""]
    loads = sorted({int(one["case"]) for one in _latency_runs(results) if one["case"].isdigit()})
    for name in PERCENTILES:
        columns = {"idle": ("idle", over(name, 2))} | {f"{load:,}": (str(load), over(name, 2)) for load in loads}
        yield from [f"### {name}", "", *Table(results, "latency", columns, "idle").lines(), ""]


def _latency_runs(results: Results) -> list[Cell]:
    section = results.sections["latency"]
    return [*section["samples"], *section["left_out"]]


def _io(results: Results) -> Iterator[str]:
    cases = {one["case"] for one in results.samples if one["measurement"] == "io"}
    columns = {f"at {case}": (case, spread("rate")) for case in sorted(cases, key=int, reverse=True)}
    text = "Events a second, end to end, with a handler that waits 10 ms; as many at once as the column says."
    yield from _section(results, "Handlers that wait", "io", columns, text, best_first="1000")


def _growth(results: Results, drawn: list[str]) -> Iterator[str]:
    sizes = sorted({int(one["case"]) for one in results.samples if one["measurement"] == "growth"})
    columns = {f"{size:,}": (str(size), spread("rate")) for size in sizes}
    if sizes:
        columns[f"the first {min(50_000, sizes[-1] // 2):,} of {sizes[-1]:,}"] = (str(sizes[-1]), over("first_rate", 0))
        columns["bytes an event"] = (str(sizes[-1]), over("bytes_each", 0))
        columns["worker MiB"] = (str(sizes[-1]), _memory)
    text = (
        "Events a second at concurrency 100 with so many waiting at the begin; the smallest set is drained many times"
        " by one live worker. Memory of the worker: after its first tenth of the largest set, and at the end."
    )
    yield from _section(results, "Growth", "growth", columns, text, *_plot("growth.png", drawn))


def _scale(results: Results) -> Iterator[str]:
    columns = {
        "1 process": ("processes 1", spread("rate")),
        "2": ("processes 2", spread("rate")),
        "3": ("processes 3", spread("rate")),
        "waiting 10 ms: 1": ("waiting 1", spread("rate")),
        "2 ": ("waiting 2", spread("rate")),
        "3 ": ("waiting 3", spread("rate")),
    }
    text = (
        "Events a second of more worker processes on one server, log on: handlers that do nothing at concurrency 100 a"
        " process, and handlers that wait 10 ms at concurrency 20. Server, workers and this suite share the cores of"
        " one machine: where they are all taken, a further process has nothing to run on."
    )
    yield from _section(results, "More processes", "scale", columns, text)
    columns = {
        "1 shard": ("shards 1", spread("rate")),
        "12 shards": ("shards 12", spread("rate")),
        "commands on each primary": ("shards 12", _shares),
        "Redis µs to emit": ("shards 12", over("emit_us", 1)),
        "to process": ("shards 12", over("redis_us", 1)),
    }
    text = (
        "One worker process on a cluster of three primaries, all on this machine's cores: what counts are the shares"
        " and the processor time of an event, not the rates."
    )
    yield from _section(results, "Shards", "scale", columns, text)


def _shares(cells: list[Cell]) -> str:
    return "; ".join(f"{100 * one:.1f} %" for one in cells[0]["shares"])


def _memory(cells: list[Cell]) -> str:
    series = next((cell["series"] for cell in cells if cell.get("series")), None)
    if not series:
        return ""
    early = series[len(series) // 10][2]
    return f"{early / 2**20:.1f} to {series[-1][2] / 2**20:.1f}"


def _plot(name: str, drawn: list[str]) -> list[str]:
    return ["", f"![{name.removesuffix('.png')}]({name})"] if name in drawn else []


def _method(results: Results) -> Iterator[str]:
    yield from ["## How", ""]
    yield "One server at a time without persistence, the same for all, over TCP on the loopback, emptied before each"
    yield "run. In each round every system has its turn. A calibrating run of each system says how many events a run"
    yield "needs. Events wait before the worker starts; the clock runs from the first sight of a handled event to the"
    yield "last event. Before a latency is measured, the worker has handled some events and the producer emitted some."
    yield "A handler counts in mapped memory (Node: in its own, written out every 2 ms). A run counts only if the"
    yield "handled events are exactly those emitted and none is left in Redis; of oxherd with its log, the begin and"
    yield "end records must be as many too. Every system runs in an environment of its own, with these packages and"
    yield "settings:"
    yield ""
    for key, system in results.systems.items():
        packages = ", ".join(system["pinned"]) or "the checkout"
        yield f"- **{system['title']}** (`{key}`): {packages}. {'; '.join(system['settings'])}."
    counted = sum(int(one["counted"]) for one in results.samples)
    yield from [
        "",
        f"{number(counted)} events were counted in {len(results.samples)} runs; {len(results.failures)} failed.",
    ]
