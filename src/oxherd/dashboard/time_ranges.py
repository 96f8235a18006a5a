"""The ranges of time that charts have, and their columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from oxherd.admin import HistoryRow, summed
from oxherd.bullmq.history import Step


@dataclass(frozen=True, slots=True)
class TimeRange:
    """A range up to now.

    Attributes:
        name: as an address has it.
        width: how long a column is.
        fresh: how old its figures may be, in seconds.
        clock: how a moment of it is written, for strftime.
    """

    name: str
    label: str
    length: timedelta
    step: Step
    width: timedelta
    fresh: float
    clock: str

    def columns(self, rows: Sequence[HistoryRow]) -> list[HistoryRow]:
        """The rows of minutes or hours, summed to columns that begin at a multiple of their width."""
        columns: dict[datetime, list[HistoryRow]] = {}
        for row in rows:
            seconds = self.width.total_seconds()
            start = datetime.fromtimestamp(row.at.timestamp() // seconds * seconds, UTC)
            columns.setdefault(start, []).append(row)
        return [summed(each) for _, each in sorted(columns.items())]


HOUR = TimeRange("1h", "Hour", timedelta(hours=1), "minute", timedelta(minutes=1), 5.0, "%H:%M")
DAY = TimeRange("24h", "Day", timedelta(days=1), "minute", timedelta(minutes=15), 30.0, "%H:%M")
MONTH = TimeRange("31d", "Month", timedelta(days=31), "hour", timedelta(hours=6), 120.0, "%d %b")
RANGES = {each.name: each for each in (HOUR, DAY, MONTH)}


def time_range(name: str | None) -> TimeRange:
    """The range of a name; the hour of none, or of one that there is not."""
    return RANGES.get(name or "", HOUR)
