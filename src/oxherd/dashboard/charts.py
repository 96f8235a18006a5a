"""The geometry of charts: what the templates draw as inline SVG. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from oxherd.admin import HistoryRow
from oxherd.dashboard.time_ranges import TimeRange

WIDTH, HEIGHT = 600, 96
# A column's gap, as a share of its width.
_GAP = 0.2


@dataclass(frozen=True, slots=True)
class Bar:
    """A column of two parts, one upon the other: their heights and, for a reader, what it stands for."""

    x: float
    width: float
    lower: float
    upper: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Columns or lines over a range of time.

    Attributes:
        most: what its full height stands for.
        summary: what it shows, for those who do not see it.
        start, middle, end: what stands below it.
    """

    bars: tuple[Bar, ...]
    lines: tuple[str, ...]
    most: str
    summary: str
    start: str
    middle: str
    end: str

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not self.lines and not any(bar.lower or bar.upper for bar in self.bars)


def ends_chart(rows: Sequence[HistoryRow], time_range: TimeRange) -> Chart:
    """How many completed and failed in each column."""
    most = _round_up(max((row.completed + row.failures for row in rows), default=0))
    step = WIDTH / max(1, len(rows))
    bars: list[Bar] = []
    for number, row in enumerate(rows):
        text = f"{row.at.strftime(time_range.clock)}: {row.completed:,} completed, {row.failures:,} failed"
        lower, upper = (HEIGHT * count / most if most else 0 for count in (row.completed, row.failures))
        bars.append(Bar(number * step + step * _GAP / 2, step * (1 - _GAP), _visible(lower), _visible(upper), text))
    completed, failures = sum(row.completed for row in rows), sum(row.failures for row in rows)
    summary = f"{completed:,} completed and {failures:,} failed in this {time_range.label.lower()}"
    return Chart(tuple(bars), (), f"{most:,.0f}", summary, *_labels(rows, time_range))


def times_chart(rows: Sequence[HistoryRow], time_range: TimeRange, kind: str) -> Chart:
    """How long runs took (`ran`), or waited (`waited`): p50 and p95 of each column."""
    times = [getattr(row, kind) for row in rows]
    series = ([each.p50 for each in times], [each.p95 for each in times])
    most = _round_up(max((value for values in series for value in values if value is not None), default=0))
    step = WIDTH / max(1, len(rows))
    lines = tuple(_path(values, step, most) for values in series)
    bars = tuple(
        Bar(number * step, step, 0, 0, f"{row.at.strftime(time_range.clock)}: p50 {_said(p50)}, p95 {_said(p95)}")
        for number, (row, p50, p95) in enumerate(zip(rows, *series, strict=True))
    )
    what = "Runs took" if kind == "ran" else "Events waited"
    summary = f"{what} up to {_said(most)} (p95) in this {time_range.label.lower()}"
    return Chart(bars, tuple(filter(None, lines)), _said(most or None), summary, *_labels(rows, time_range))


def sparkline(rows: Sequence[HistoryRow], width: int = 96, height: int = 20) -> str:
    """The path of how many ended in each column, or "" where none did; without the one under way, which would dip."""
    counts = [row.completed + row.failures for row in rows[:-1]]
    most = max(counts, default=0)
    if not most:
        return ""
    step = width / max(1, len(counts) - 1)
    return _polyline((n * step, height - 1 - (height - 2) * count / most) for n, count in enumerate(counts))


def _path(values: Sequence[float | None], step: float, most: float) -> str:
    """Pieces of a line, broken where nothing is known; a lone value is a short stroke."""
    pieces: list[str] = []
    points: list[tuple[float, float]] = []
    for number, value in enumerate([*values, None]):
        if value is not None:
            points.append(((number + 0.5) * step, HEIGHT - HEIGHT * value / most if most else HEIGHT))
        elif points:
            if len(points) == 1:
                x, y = points[0]
                points = [(x - step * 0.3, y), (x + step * 0.3, y)]
            pieces.append(_polyline(points))
            points = []
    return "".join(pieces)


def _polyline(points: Iterable[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _visible(height: float) -> float:
    # One of thousands is still a line.
    return max(height, 1.5) if height else 0.0


def _round_up(value: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    if value <= 0:
        return 0
    power = 10.0 ** math.floor(math.log10(value))
    return next(each * power for each in (1, 2, 5, 10) if each * power >= value * 0.9999)


def _said(seconds: float | None) -> str:
    if seconds is None:
        return "none"
    if seconds >= 120:
        return f"{seconds / 60:,.0f} m"
    return f"{seconds:,.3g} s" if seconds >= 1 else f"{seconds * 1000:,.3g} ms"


def _labels(rows: Sequence[HistoryRow], time_range: TimeRange) -> tuple[str, str, str]:
    if not rows:
        return "", "", "now"
    moments = (rows[0].at, rows[len(rows) // 2].at)
    start, middle = (moment.strftime(time_range.clock) for moment in moments)
    return start, middle, "now"
