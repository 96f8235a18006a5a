"""`events()` and `schedules()`: what there is, at a glance."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from oxherd.admin.figures import HistoryRow
from oxherd.admin.history import recent_row
from oxherd.admin.moments import moment, seconds_since
from oxherd.admin.rows import EventRow, KeyRow, ScheduleRow
from oxherd.admin.target import Herd, asked, connected, event_places
from oxherd.bullmq.per_key import busiest_key
from oxherd.bullmq.queue_counts import QueueCounts, queue_counts
from oxherd.bullmq.worker_info import WorkerInfo
from oxherd.event import Event
from oxherd.limits import Limits
from oxherd.producer.backend import Backend

_LAST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Counted:
    """An event, the names of its queues with what they hold, and its last minutes."""

    event: Event[Any, Any]
    queues: tuple[str, ...]
    counts: list[QueueCounts]
    recent: HistoryRow


async def event_rows(herd: Herd) -> list[EventRow]:
    """The events of a herd, with what their queues hold."""
    backend = await connected(herd)
    counting = asyncio.gather(*(_counted(herd, backend, event) for event in herd))
    workers, rows = await asyncio.gather(herd.workers(), counting)
    return [_row(herd, counted, workers) for counted in rows]


async def _counted(herd: Herd, backend: Backend, event: Event[Any, Any]) -> _Counted:
    places = await event_places(herd, backend, event)
    counting = asyncio.gather(
        *(asked(herd, place.queue, lambda q=place.queue: queue_counts(q, event.name)) for place in places)
    )
    counts, recent = await asyncio.gather(counting, recent_row(herd, places[0].queue, event.name))
    return _Counted(event, tuple(place.queue.keys.queue for place in places), counts, recent)


def _row(herd: Herd, counted: _Counted, workers: list[WorkerInfo]) -> EventRow:
    event, counts = counted.event, counted.counts
    queue = event.declaration.queue
    oldest = min((each.oldest_ms for each in counts if each.oldest_ms), default=0)
    return EventRow(
        name=event.name,
        queues=counted.queues,
        shared_with=tuple(each.name for each in herd if each.declaration.queue == queue and each is not event),
        waiting=sum(each.waiting for each in counts),
        running=sum(each.running for each in counts),
        delayed=sum(each.delayed for each in counts),
        waiting_children=sum(each.waiting_children for each in counts),
        failed=sum(each.failed for each in counts),
        completed=sum(each.completed for each in counts),
        oldest_at=moment(oldest),
        oldest_seconds=seconds_since(oldest, max(each.server_ms for each in counts)),
        next_due_at=moment(min((each.next_due_ms for each in counts if each.next_due_ms), default=0)),
        last_failed_at=moment(max(each.last_failed_ms for each in counts)),
        paused=counts[0].paused,
        paused_queues=sum(each.paused for each in counts),
        workers=sum(event.name in worker.events for worker in workers),
        limits=counts[0].limits if len(counts) == 1 else Limits(per_key=counts[0].limits.per_key),
        limited_until=moment(counts[0].limited_until_ms) if len(counts) == 1 else None,
        recent=counted.recent,
    )


async def key_rows(herd: Herd) -> list[KeyRow]:
    """The busiest key of each event that has limits for each key."""
    backend = await connected(herd)
    rows: list[KeyRow] = []
    for event in herd:
        if event.declaration.limits.per_key is None:
            continue
        places = await event_places(herd, backend, event)
        reads = (asked(herd, place.queue, lambda q=place.queue: busiest_key(q)) for place in places)
        found = zip(places, await asyncio.gather(*reads), strict=True)
        place, key = max(found, key=lambda each: each[1].jobs if each[1] else 0)
        if key is not None:
            rows.append(KeyRow(event.name, key.jobs, key.total, key.held, key.paused, place.event_id(key.example)))
    return sorted(rows, key=lambda row: -row.waiting)


async def schedule_rows(herd: Herd, event: str | None) -> list[ScheduleRow]:
    """The schedules of one event, or of all, the next to tick first."""
    await connected(herd)
    events = list(herd) if event is None else [herd[event]]
    found = await asyncio.gather(*(each.schedules() for each in events))
    rows = [ScheduleRow(each.name, info) for each, infos in zip(events, found, strict=True) for info in infos]
    return sorted(rows, key=lambda row: (row.info.next or _LAST, row.event, row.info.name))
