"""Schedules in BullMQ's job schedulers: stored idempotently, and advanced from tick to tick."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from oxherd.bullmq.clock import now_ms
from oxherd.bullmq.job import Job
from oxherd.bullmq.options import LATEST_MS
from oxherd.bullmq.patterns import read_pattern
from oxherd.bullmq.schedulers import Repeat, Schedulers, StoredSchedule
from oxherd.policy import json_number
from oxherd.schedule import Every, When

_MAX_DIGITS = 13  # of a time in milliseconds until the year 2286; a longer one is not a tick of ours


def repeat_of(schedule: When) -> Repeat:
    """A schedule in BullMQ's terms."""
    if isinstance(schedule, Every):
        return Repeat(every=schedule.milliseconds)
    return Repeat(pattern=schedule.expression, tz=schedule.tz)


def next_ms(schedule: When, after_ms: int) -> int:
    """The first tick after a time, both in milliseconds since the Unix epoch."""
    tick = schedule.next(datetime.fromtimestamp(after_ms / 1000, UTC))
    return round(tick.timestamp() * 1000)


async def ensure(
    schedulers: Schedulers,
    scheduler: str,
    event: str,
    schedule: When,
    data: bytes,
    options: dict[str, Any],
    same_data: Callable[[Any, bytes], bool],
    *,
    deadline: float,
) -> None:
    """Store a schedule until `deadline` (monotonic seconds), unless the same is stored.

    `same_data` compares the stored payload with `data`, since a payload is never encrypted to the same text twice.

    BullMQ's upsert removes the pending tick, so upserting at each start would drop a tick that came due while no worker
    ran. A changed schedule keeps a tick that is due, with the new payload; if its interval has changed, as the new
    interval's last tick, if that is later.
    """
    repeat = repeat_of(schedule)
    stored = await schedulers.get(scheduler, deadline)
    now = now_ms()
    upcoming = next_ms(schedule, now)
    due = upcoming
    if stored is not None:
        pending = await schedulers.pending(scheduler, stored.next_ms)
        if pending and stored.matches(event, repeat, options) and same_data(stored.data, data):
            return
        if pending and stored.next_ms <= now:
            due = _due_tick(schedule, stored, now, upcoming)
    if not await schedulers.upsert(scheduler, event, repeat, data, options, due, deadline=deadline) and due != upcoming:
        # That tick is running and cannot be replaced: continue with the one after it.
        await schedulers.upsert(scheduler, event, repeat, data, options, upcoming, deadline=deadline)


def _due_tick(schedule: When, stored: StoredSchedule, now: int, upcoming: int) -> int:
    """The tick to keep for one that is due while its schedule changes."""
    if isinstance(schedule, Every) and schedule.milliseconds != stored.repeat.every:
        # BullMQ continues an interval from its last tick, which therefore has to be a multiple of it.
        last = now - now % schedule.milliseconds
        return last if last >= stored.next_ms else upcoming
    return stored.next_ms


def next_tick_ms(job: Job) -> int | None:
    """When the schedule of `job` ticks next, in milliseconds since the epoch; None if it has ended.

    It is later than `job`'s own time, even if this machine's clock is behind.

    Raises:
        ScheduleError: the job's interval, pattern or time zone, which another program wrote, is invalid.
    """
    known = job.options.repeat
    now = now_ms()
    tick = job.id.rpartition(":")[2]
    names = ("count", "limit", "startDate", "endDate", "every")
    count, limit, start, end, every = (json_number(known.get(name)) for name in names)
    after = max(now, int(tick) if tick.isdecimal() and len(tick) <= _MAX_DIGITS else 0, min(int(start or 0), LATEST_MS))
    if limit is not None and count is not None and count + 1 > limit:
        return None
    if end is not None and now > end:
        return None
    if every is not None:
        # As Node's worker, which lets the last interval end after the end date.
        return next_ms(Every(int(every) / 1000), after)
    pattern, tz = known.get("pattern"), known.get("tz")
    cron = read_pattern(
        pattern if isinstance(pattern, str) else "", tz if isinstance(tz, str) and tz else "UTC", job.scheduler or ""
    )
    upcoming = next_ms(cron, after)
    return None if end is not None and upcoming > end else upcoming
