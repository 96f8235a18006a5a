"""The plots, from results.json in the folder given; runs in an environment of its own."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, NullFormatter

_BUNDLED = "valkey"
_COLOURS = ["#9ecae1", "#4292c6", "#084594", "#fdd0a2", "#fdae6b", "#d94801"]
_OURS = "#d94801"
_LINES = (0, 4, 8, 10, 12, 14, 16, 18, 1, 5, 9, 11, 13, 15)  # of matplotlib's tab20: what does not look like ours
_MODES = {
    "one": "one by one",
    "gather": "100 at once",
    "bulk": "in bulk",
    "one-sync": "sync, 1 thread",
    "threads-sync": "sync, 8 threads",
    "bulk-sync": "sync, in bulk",
}
_PERCENTILES = ("p50", "p99", "p99.9")


def _thousands(value: float, _: object) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


class Plots:
    """The figures of one results.json."""

    def __init__(self, out: Path) -> None:
        self.out = out
        data: dict[str, Any] = json.loads((out / "results.json").read_text())
        # Of the first schema, all is one section, and its samples do not name their server.
        sections = data.get("sections", {"": data}).values()
        self.systems: dict[str, Any] = {}
        for section in sections:
            self.systems = section["systems"] | self.systems
        self.samples = [
            one for section in sections for one in section["samples"] if one.get("server", _BUNDLED) == _BUNDLED
        ]
        self.left_out = {(one["system"], one["case"]) for section in sections for one in section.get("left_out", ())}

    def draw(self) -> None:
        """Draw each plot that has figures."""
        drains = {str(n): f"concurrency {n}" for n in (1, 10, 100)}
        drawn = {
            "drain.png": self._bars("drain", drains, "no-op events a second, one worker process (log scale)"),
            "emit.png": self._bars("emit", _MODES, "events emitted a second, one process (log scale)"),
            "latency.png": self._idle(),
            "loads.png": self._loads(),
            "growth.png": self._growth(),
        }
        for name, figure in drawn.items():
            if figure is not None:
                figure.savefig(self.out / name, dpi=110, bbox_inches="tight", metadata={"Software": ""})
                plt.close(figure)

    def _median(self, measurement: str, system: str, case: str, name: str) -> float | None:
        values = [one[name] for one in self._of(measurement, system) if one["case"] == case and name in one]
        return statistics.median(values) if values else None

    def _of(self, measurement: str, system: str = "") -> list[dict[str, Any]]:
        return [
            one for one in self.samples if one["measurement"] == measurement and (not system or one["system"] == system)
        ]

    def _title(self, key: str) -> str:
        return self.systems[key]["title"]

    def _bars(self, measurement: str, cases: dict[str, str], label: str) -> Any:
        best = {key: max((one["rate"] for one in self._of(measurement, key)), default=0) for key in self.systems}
        keys = sorted((key for key in best if best[key]), key=lambda key: best[key])
        if not keys:
            return None
        figure, axes = plt.subplots(figsize=(9, 0.6 + 0.16 * len(keys) * (len(cases) + 1)))
        height = 0.85 / len(cases)
        for index, title in enumerate(cases.values()):
            axes.barh([0], [0], color=_COLOURS[index], label=title)
        shown: list[float] = []
        for row, key in enumerate(keys):
            found = {case: self._median(measurement, key, case, "rate") for case in cases}
            bars = [(list(cases).index(case), value) for case, value in found.items() if value is not None]
            for place, (index, value) in enumerate(bars):
                y = row + height * ((len(bars) - 1) / 2 - place)
                axes.barh(y, value, height=height, color=_COLOURS[index])
                axes.text(value * 1.02, y, f"{value:,.0f}", va="center", fontsize=7)
                shown.append(value)
        # An emit writes no log.
        titles = [self._title(key).split(",")[0] if measurement == "emit" else self._title(key) for key in keys]
        axes.set_yticks(range(len(keys)), titles)
        axes.set_ylim(-0.6, len(keys) - 0.4)
        axes.set_xscale("log")
        axes.set_xlim(0.5 * min(shown), 2 * max(shown))
        axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
        axes.xaxis.set_minor_formatter(NullFormatter())
        self._finish(axes, label)
        axes.legend(loc="lower right", fontsize=8, framealpha=0.95)
        return figure

    def _idle(self) -> Any:
        keys = sorted(
            {one["system"] for one in self._of("latency") if one["case"] == "idle"},
            key=lambda key: -(self._median("latency", key, "idle", "p50") or 1e9),
        )
        if not keys:
            return None
        figure, axes = plt.subplots(figsize=(9, 0.8 + 0.28 * len(keys)))
        for row, key in enumerate(keys):
            points = [self._median("latency", key, "idle", name) or 0 for name in _PERCENTILES]
            axes.plot([points[0], points[-1]], [row, row], color="#cccccc", zorder=1)
            for name, value, colour in zip(_PERCENTILES, points, _COLOURS[2:], strict=False):
                axes.scatter([value], [row], color=colour, s=28, zorder=2, label=None if row else name)
            axes.text(points[-1] * 1.15, row, f"{points[0]:.2g} / {points[1]:.3g}", va="center", fontsize=7)
        axes.set_yticks(range(len(keys)), [self._title(key) for key in keys])
        axes.set_xscale("log")
        axes.set_xlim(right=5 * axes.get_xlim()[1])
        axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
        self._finish(axes, "idle worker: ms from emit to handler (log scale); p50 / p99 beside")
        axes.legend(fontsize=8, loc="upper right", framealpha=0.95)
        return figure

    def _loads(self) -> Any:
        loads = sorted({int(one["case"]) for one in self._of("latency") if one["case"].isdigit()})
        if not loads:
            return None
        figure, both = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True)
        for axes, name in zip(both, _PERCENTILES, strict=False):
            for index, key in enumerate(self.systems):
                found = [(load, self._median("latency", key, str(load), name)) for load in loads]
                points = [
                    (load, value)
                    for load, value in found
                    if value is not None and (key, str(load)) not in self.left_out
                ]
                if points:
                    ours = key.startswith("oxherd")
                    colour = _OURS if ours else plt.get_cmap("tab20")(_LINES[index % len(_LINES)])
                    style = "--" if key == "oxherd-quiet" else "-"
                    width = 2.2 if ours else 1.2
                    x, y = zip(*points, strict=True)
                    axes.plot(x, y, style, marker="o", ms=3, color=colour, lw=width, label=self._title(key))
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_xticks(loads)
            axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.yaxis.set_major_formatter(FuncFormatter(_thousands))
            self._finish(
                axes, "events a second (log scale)", f"{name}, ms from emit to handler (log scale)", axis="both"
            )
        both[1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
        return figure

    def _growth(self) -> Any:
        samples = self._of("growth")
        if not samples:
            return None
        figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
        for index, key in enumerate(dict.fromkeys(one["system"] for one in samples)):
            colour = _OURS if key == "oxherd" else _COLOURS[(1 + index) % len(_COLOURS)]
            sizes = sorted({int(one["case"]) for one in self._of("growth", key)})
            rates = [self._median("growth", key, str(size), "rate") for size in sizes]
            left.plot(sizes, rates, marker="o", color=colour, label=self._title(key))
            series = next(
                (
                    s
                    for one in samples
                    if one["system"] == key and one["case"] == str(sizes[-1])
                    if (s := one.get("series"))
                ),
                [],
            )
            right.plot([s[1] for s in series], [s[2] / 2**20 for s in series], color=colour, label=self._title(key))
        left.set_xscale("log")
        left.set_ylim(bottom=0)
        right.set_ylim(bottom=0)
        for axes in (left, right):
            axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
            axes.yaxis.set_major_formatter(FuncFormatter(_thousands))
        self._finish(left, "events waiting at the begin (log scale)", "events drained a second", axis="both")
        self._finish(right, "events handled, of the largest backlog", "worker's resident memory, MiB", axis="both")
        left.legend(fontsize=8)
        return figure

    def _finish(self, axes: Any, x: str, y: str = "", axis: str = "x") -> None:
        axes.set_xlabel(x, fontsize=9)
        axes.set_ylabel(y, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(axis=axis, color="#e5e5e5", linewidth=0.6)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)


if __name__ == "__main__":
    Plots(Path(sys.argv[1])).draw()
