"""Schedules in BullMQ's job schedulers: stored once however often they are asked for, and carried from tick to tick."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from oxherd.bullmq.clock import now_ms
from oxherd.bullmq.job import Job
from oxherd.bullmq.schedulers import Repeat, Schedulers, Stored
from oxherd.policy import json_number
from oxherd.schedule import Cron, Every, Schedule

_DIGITS = 13  # of a time in milliseconds, until the year 2286; a longer one is not a tick of ours


def repeat_of(schedule: Schedule) -> Repeat:
    """A schedule in BullMQ's words."""
    if isinstance(schedule, Every):
        return Repeat(every=schedule.milliseconds)
    return Repeat(pattern=schedule.expression, tz=schedule.tz)


def next_ms(schedule: Schedule, after_ms: int) -> int:
    """The first tick after a time, both in milliseconds since the Unix epoch."""
    tick = schedule.next(datetime.fromtimestamp(after_ms / 1000, UTC))
    return round(tick.timestamp() * 1000)


async def ensure(
    schedulers: Schedulers,
    scheduler: str,
    event: str,
    schedule: Schedule,
    data: bytes,
    options: dict[str, Any],
    same_data: Callable[[Any, bytes], bool],
    *,
    deadline: float,
) -> None:
    """Store a schedule; one that is stored already is left alone, with its due tick.

    `same_data` compares the stored payload with `data`: sealed anew, it is never the same text.

    BullMQ's upsert removes the pending tick: asked for at each start, it would drop a tick that came due while no
    worker ran. A changed schedule keeps a tick that is due, with the new payload; where its interval is changed, in the
    shape of the new interval's last tick, if that came after it.
    """
    repeat = repeat_of(schedule)
    stored = await schedulers.get(scheduler, deadline)
    now = now_ms()
    upcoming = next_ms(schedule, now)
    due = upcoming
    if stored is not None:
        pending = await schedulers.pending(scheduler, stored.next_ms)
        if pending and stored.same(event, repeat, options) and same_data(stored.data, data):
            return
        if pending and stored.next_ms <= now:
            due = _kept(schedule, stored, now, upcoming)
    if not await schedulers.upsert(scheduler, event, repeat, data, options, due, deadline=deadline) and due != upcoming:
        # That tick runs now, and cannot be replaced: go on with the one after it.
        await schedulers.upsert(scheduler, event, repeat, data, options, upcoming, deadline=deadline)


def _kept(schedule: Schedule, stored: Stored, now: int, upcoming: int) -> int:
    """The tick that stands for one that is due while its schedule is changed."""
    if isinstance(schedule, Every) and schedule.milliseconds != stored.repeat.every:
        # BullMQ counts an interval on from its last tick, so that has to be one of this interval's.
        last = now - now % schedule.milliseconds
        return last if last >= stored.next_ms else upcoming
    return stored.next_ms


def next_tick_ms(job: Job) -> int | None:
    """When the schedule that made `job` ticks next, in milliseconds since the epoch; None where it is to end.

    Never the tick's own time again, even where this machine's clock is behind the one that released it.

    Raises:
        ScheduleError: the job's interval, pattern or time zone, written by another program, is not one.
    """
    known = job.options.repeat
    now = now_ms()
    tick = job.id.rpartition(":")[2]
    after = max(now, int(tick) if tick.isdecimal() and len(tick) <= _DIGITS else 0)
    count, limit, end, every = (json_number(known.get(name)) for name in ("count", "limit", "endDate", "every"))
    if limit is not None and count is not None and count + 1 > limit:
        return None
    if end is not None and now > end:
        return None
    schedule: Schedule = Every(int(every) / 1000) if every is not None else Cron(*_pattern(known))
    return next_ms(schedule, after)


def _pattern(repeat: dict[str, Any]) -> tuple[str, str]:
    pattern, tz = repeat.get("pattern"), repeat.get("tz")
    return pattern if isinstance(pattern, str) else "", tz if isinstance(tz, str) and tz else "UTC"
