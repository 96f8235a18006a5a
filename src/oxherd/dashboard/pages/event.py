"""One event: what it does, and its events by state, error and time."""

from __future__ import annotations

from collections import Counter

from oxherd.admin import FoundEvent
from oxherd.dashboard.charts import ends_chart, times_chart
from oxherd.dashboard.filters import STATES, Filter
from oxherd.dashboard.page import Page, Request
from oxherd.dashboard.reading import Reading
from oxherd.dashboard.time_ranges import time_range
from oxherd.errors import UsageError

_FIRST_ROWS = 50
_MOST_ROWS = 1_000
# The newest failures, by which errors are counted.
_COUNTED = 500


async def load(read: Reading, request: Request) -> Page:
    """The page of an event."""
    row = await read.event(request.path["name"])
    chosen = Filter.of(request.query, "failed" if row.failed else "waiting")
    most = rows_asked(request)
    asked = time_range(request.query.get("range"))
    found = await find(read, row.name, chosen, most + 1)
    history = await read.history(row.name, asked)
    return Page(
        "event.html",
        row.name,
        {
            "row": row,
            "filter": chosen,
            "states": {state: getattr(row, state) for state in STATES},
            "found": found[:most],
            "more": most * 4 if len(found) > most and most < _MOST_ROWS else None,
            "errors": await _errors(read, row.name) if chosen.state == "failed" and row.failed else [],
            "ends": ends_chart(history, asked),
            "waited": times_chart(history, asked, "waited"),
            "ran": times_chart(history, asked, "ran"),
            "range": asked,
        },
        nav="overview",
    )


def rows_asked(request: Request) -> int:
    """How many rows a page shows; raises UsageError."""
    text = request.query.get("rows") or str(_FIRST_ROWS)
    if not (text.isascii() and text.isdigit()) or not int(text[:9]) > 0:
        raise UsageError(f"rows is a number from 1 to {_MOST_ROWS}.")
    return min(int(text[:9]), _MOST_ROWS)


async def find(read: Reading, event: str | None, chosen: Filter, most: int) -> list[FoundEvent]:
    """The events of a filter."""
    options = chosen.options()

    async def load_found() -> list[FoundEvent]:
        return await read.admin.find(event, state=chosen.state, limit=most, **options).all()

    return await read(f"find {event} {most} {chosen}", load_found)


async def _errors(read: Reading, event: str) -> list[tuple[str, int]]:
    """The types of the newest failures' errors, the most frequent first."""
    newest = await find(read, event, Filter("failed"), _COUNTED)
    return Counter(row.error.type for row in newest if row.error is not None and row.error.type).most_common(6)
