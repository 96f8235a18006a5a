"""`effects()`: what an event has caused, looked for among what is stored."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import cast
from uuid import UUID

from oxherd.admin.rows import Effects, FoundEvent
from oxherd.admin.search import found_event, shown_errors
from oxherd.admin.selection import SearchState
from oxherd.admin.shown import Shown
from oxherd.admin.target import Herd, Place, asked, places
from oxherd.bullmq.job_sets import PAGE, SETS, Cursor, JobFilter, JobSet, read_page


async def effects(herd: Herd, event_id: UUID) -> Effects:
    """The events that an event's handler has emitted, of 1,000 of each state and queue."""
    shown = Shown()
    searches = [
        _search(herd, place, cast("SearchState", state), jobs, str(event_id), shown)
        for place in await places(herd)
        for state, sets in SETS.items()
        for jobs in sets
    ]
    found = await asyncio.gather(*searches)
    events = sorted((event for some, _ in found for event in some), key=lambda event: event.id.int)
    return Effects(tuple(events), all(at_end for _, at_end in found))


async def _search(
    herd: Herd, place: Place, state: SearchState, jobs: JobSet, caused_by: str, shown: Shown
) -> tuple[list[FoundEvent], bool]:
    newest = replace(jobs, order="head") if jobs.is_list else jobs
    wanted = JobFilter(caused_by=caused_by)
    page = await asked(herd, place.queue, lambda: read_page(place.queue, newest, wanted, Cursor()))
    errors = await shown_errors(herd, place, page.jobs, shown)
    rows = [found_event(place, job, state, error, page.server_ms) for job, error in zip(page.jobs, errors, strict=True)]
    return rows, page.at_end or page.looked_at < PAGE
