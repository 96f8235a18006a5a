"""The schedules of all events."""

from __future__ import annotations

from oxherd.admin import ScheduleRow
from oxherd.dashboard.page import Page, Request
from oxherd.dashboard.reading import Reading
from oxherd.schedule.description import described


async def load(read: Reading, request: Request) -> Page:  # noqa: ARG001
    """The schedules, the next to tick first."""

    async def load_schedules() -> list[ScheduleRow]:
        return await read.admin.schedules()

    schedules = await read("schedules", load_schedules)
    events = {row.name: row for row in await read.events()}
    rows = [(row, described(row.info.when), events.get(row.event)) for row in schedules]
    return Page("schedules.html", "Schedules", {"schedules": rows}, nav="schedules")
