"""What all events do, and what is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from oxherd.admin import EventRow, HistoryRow, summed
from oxherd.dashboard.attention import attention
from oxherd.dashboard.charts import ends_chart, sparkline, times_chart
from oxherd.dashboard.page import Page, Request
from oxherd.dashboard.reading import Reading
from oxherd.dashboard.time_ranges import HOUR, TimeRange, time_range


async def load(read: Reading, request: Request) -> Page:
    """The overview."""
    asked = time_range(request.query.get("range"))
    rows, findings = await asyncio.gather(read.events(), attention(read))
    histories = await _histories(read, rows, asked)
    together = _together(histories)
    sparklines = (
        {} if asked is not HOUR else {row.name: sparkline(each) for row, each in zip(rows, histories, strict=True)}
    )
    return Page(
        "overview.html",
        "Overview",
        {
            "findings": findings,
            "rows": rows,
            "totals": _totals(rows),
            "recent": summed(row.recent for row in rows) if rows else None,
            "ends": ends_chart(together, asked),
            "waited": times_chart(together, asked, "waited"),
            "ran": times_chart(together, asked, "ran"),
            "sparklines": sparklines,
            "range": asked,
        },
        nav="overview",
    )


async def _histories(read: Reading, rows: Sequence[EventRow], asked: TimeRange) -> list[list[HistoryRow]]:
    return await asyncio.gather(*(read.history(row.name, asked) for row in rows))


def _together(histories: Sequence[Sequence[HistoryRow]]) -> list[HistoryRow]:
    """The columns of all events as one."""
    columns: dict[float, list[HistoryRow]] = {}
    for rows in histories:
        for row in rows:
            columns.setdefault(row.at.timestamp(), []).append(row)
    return [summed(each) for _, each in sorted(columns.items())]


def _totals(rows: Sequence[EventRow]) -> dict[str, int]:
    """What all queues hold; a queue that several events share is counted once."""
    totals: dict[str, int] = dict.fromkeys(("waiting", "running", "delayed", "failed"), 0)
    seen: set[tuple[str, ...]] = set()
    for row in rows:
        if row.queues not in seen:
            seen.add(row.queues)
            for name in totals:
                totals[name] += getattr(row, name)
    return totals
