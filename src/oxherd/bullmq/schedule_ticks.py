"""Schedules in BullMQ's job schedulers: stored idempotently, and advanced from tick to tick."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_json

from oxherd.bullmq.clock import now_ms
from oxherd.bullmq.job import Job
from oxherd.bullmq.options import LATEST_MS
from oxherd.bullmq.patterns import read_pattern
from oxherd.bullmq.schedule_states import Repeat, ScheduleState, StoredSchedule
from oxherd.bullmq.schedulers import Mark, Schedulers, Upsert
from oxherd.policy import json_number
from oxherd.redis.client import ScriptError
from oxherd.schedule import Every, When
from oxherd.schedule.declared import MADE_UP, MISSED, MOST_MADE_UP

_MAX_DIGITS = 13  # of a time in milliseconds until the year 2286; a longer one is not a tick of ours
_MOST_TAKEN = 32
_MOST_AHEAD_MS = 3_600_000  # of another's clock that is believed


def repeat_of(schedule: When) -> Repeat:
    """A schedule in BullMQ's terms."""
    if isinstance(schedule, Every):
        return Repeat(every=schedule.milliseconds)
    return Repeat(pattern=schedule.expression, tz=schedule.tz)


def next_ms(schedule: When, after_ms: int) -> int:
    """The first tick after a time, both in milliseconds since the Unix epoch."""
    tick = schedule.next(datetime.fromtimestamp(after_ms / 1000, UTC))
    return round(tick.timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A schedule as it is to be stored.

    `same_data` compares the stored payload with `data`, since a payload is never encrypted to the same text twice.
    """

    id: str
    event: str
    when: When
    data: bytes
    options: dict[str, Any]
    same_data: Callable[[Any, bytes], bool]
    declared: bool = False

    @property
    def repeat(self) -> Repeat:
        """When it ticks, in BullMQ's terms."""
        return repeat_of(self.when)

    def is_stored(self, state: ScheduleState) -> bool:
        """Whether the same is stored, with a next tick unless it is paused."""
        return (
            state.record is not None
            and (state.pending or state.paused)
            and state.declared == self.declared
            and state.record.matches(self.event, self.repeat, self.options)
            and self.same_data(state.record.data, self.data)
        )


async def ensure(schedulers: Schedulers, wanted: Wanted, *, deadline: float) -> None:
    """Store a schedule until `deadline` (monotonic seconds), unless the same is stored.

    BullMQ's upsert removes the pending tick, so upserting at each start would drop a tick that came due while no worker
    ran. A changed schedule keeps a tick that is due, with the new payload; if its interval has changed, as the new
    interval's last tick, if that is later.
    """
    while True:
        state = await schedulers.state(wanted.id, deadline)
        if wanted.is_stored(state):
            return
        now = now_ms()
        tick = upcoming = next_ms(wanted.when, _after(state, now))
        if state.record is not None and state.pending and state.record.next_ms <= now:
            tick = _due_tick(wanted.when, state.record, now, upcoming)
        mark = "declared" if wanted.declared else "undeclared"
        if await _store(schedulers, state, wanted, tick, upcoming, mark, deadline):
            return


async def resume(schedulers: Schedulers, state: ScheduleState, *, deadline: float) -> bool:
    """Let a paused schedule go on with its next tick; False if it has changed since it was read.

    Raises:
        ScheduleError: its pattern, which another program wrote, is invalid.
    """
    record = state.record
    assert record is not None  # noqa: S101 - the caller has looked
    when = when_of(record.repeat, state.id)
    data = to_json(record.data)
    wanted = Wanted(state.id, record.name, when, data, record.options, _any_data)
    upcoming = next_ms(when, _after(state, now_ms()))
    return await _store(schedulers, state, wanted, upcoming, upcoming, "resumed", deadline, record.repeat)


async def _store(
    schedulers: Schedulers,
    state: ScheduleState,
    wanted: Wanted,
    tick: int,
    upcoming: int,
    mark: Mark,
    deadline: float,
    repeat: Repeat | None = None,
) -> bool:
    """Store a schedule with `tick`, or the first after it that can be stored; False if it has changed meanwhile."""
    for _ in range(_MOST_TAKEN):
        upsert = await schedulers.upsert(
            state, wanted.event, repeat or wanted.repeat, wanted.data, wanted.options, tick, mark, deadline=deadline
        )
        if upsert is not Upsert.TAKEN:
            return upsert is Upsert.STORED
        # It runs, or has run and is kept.
        tick = upcoming if tick < upcoming else next_ms(wanted.when, tick)
    raise ScriptError("the schedule's next ticks are all stored already, by jobs that are kept under their ids")


def _any_data(_stored: Any, _data: bytes) -> bool:
    return True


def _after(state: ScheduleState, now: int) -> int:
    """The time after which a schedule's next tick is looked for: no tick is made twice, whosever clock is behind."""
    # A last tick in the far future is a clock's error, which must not end the schedule.
    last = state.last_ms if state.last_ms <= now + _MOST_AHEAD_MS else 0
    ahead = state.server_ms if state.server_ms <= now + _MOST_AHEAD_MS else 0
    return max(now, last, ahead)


def when_of(repeat: Repeat, name: str) -> When:
    """A stored schedule's Cron or Every.

    Raises:
        ScheduleError: it cannot be read.
    """
    if repeat.every is not None:
        return Every(repeat.every / 1000)
    return read_pattern(repeat.pattern or "", repeat.tz or "UTC", name)


def _due_tick(schedule: When, stored: StoredSchedule, now: int, upcoming: int) -> int:
    """The tick to keep for one that is due while its schedule changes."""
    if isinstance(schedule, Every) and schedule.milliseconds != stored.repeat.every:
        # BullMQ continues an interval from its last tick, which therefore has to be a multiple of it.
        last = now - now % schedule.milliseconds
        return last if last >= stored.next_ms else upcoming
    return stored.next_ms


def tick_ms(job: Job) -> int | None:
    """When a schedule's tick was due, by its id; None where that does not say."""
    tick = job.id.rpartition(":")[2]
    return int(tick) if tick.isdecimal() and len(tick) <= _MAX_DIGITS else None


def next_tick_ms(job: Job) -> int | None:
    """When the schedule of `job` ticks next, in milliseconds since the epoch; None if it has ended.

    It is later than `job`'s own time, even if this machine's clock is behind, and may be due already where a schedule
    makes up for each tick.

    Raises:
        ScheduleError: the job's interval, pattern or time zone, which another program wrote, is invalid.
    """
    known = job.options.repeat
    now = now_ms()
    tick = tick_ms(job) or 0
    names = ("count", "limit", "startDate", "endDate", "every")
    count, limit, start, end, every = (json_number(known.get(name)) for name in names)
    after = max(tick if makes_up(job) else max(now, tick), min(int(start or 0), LATEST_MS))
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


def makes_up(job: Job) -> bool:
    """Whether the tick after `job` is made even if it was missed."""
    made_up = json_number(job.options.get(MADE_UP)) or 0
    return job.options.get(MISSED) == "all" and made_up < MOST_MADE_UP
