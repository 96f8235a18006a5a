"""What has failed, of all events: the dead letters."""

from __future__ import annotations

from dataclasses import replace

from oxherd.dashboard.filters import Filter
from oxherd.dashboard.page import Page, Request
from oxherd.dashboard.pages.event import find, rows_asked
from oxherd.dashboard.reading import Reading


async def load(read: Reading, request: Request) -> Page:
    """The failed events of all events, the newest first."""
    chosen = replace(Filter.of(request.query, "failed"), state="failed")
    most = rows_asked(request)
    rows = await read.events()
    found = await find(read, None, chosen, most + 1)
    return Page(
        "failed.html",
        "Failed",
        {
            "rows": [row for row in rows if row.failed],
            "filter": chosen,
            "found": found[:most],
            "more": most * 4 if len(found) > most and most < 1_000 else None,
        },
        nav="failed",
    )
