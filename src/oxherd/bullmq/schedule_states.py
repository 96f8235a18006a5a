"""Schedules as Redis has them: BullMQ's record, and what we keep beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from oxherd.bullmq.clock import bounded_ms
from oxherd.bullmq.keys import QueueKeys
from oxherd.bullmq.scripts import script
from oxherd.redis.client import Argument, Client, ScriptError
from oxherd.redis.retry import retry

_PAGE = 200


@dataclass(frozen=True, slots=True)
class Repeat:
    """When a schedule ticks, in BullMQ's terms: a cron `pattern` with `tz`, or `every` milliseconds."""

    pattern: str | None = None
    tz: str | None = None
    every: int | None = None

    @property
    def options(self) -> dict[str, Any]:
        """What is set."""
        each = {"pattern": self.pattern, "tz": self.tz, "every": self.every}
        return {key: value for key, value in each.items() if value is not None}


@dataclass(frozen=True, slots=True)
class StoredSchedule:
    """A scheduler's record; `next_ms` is when its next tick is due, in milliseconds since the epoch.

    `bounded`: it ends by itself, or is offset, as only Node's are.
    """

    name: str
    repeat: Repeat
    data: Any
    options: Any
    next_ms: int
    bounded: bool = False

    def matches(self, name: str, repeat: Repeat, options: dict[str, Any]) -> bool:
        """Whether the record has this name, repeat and options."""
        return (self.name, self.repeat, self.options) == (name, repeat, options)


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """A schedule at one moment.

    Attributes:
        record: None if there is no such schedule.
        pending: whether the job of its next tick is stored, in any state.
        declared: whether it stands in code.
        last_ms: the last tick that has begun; 0 if none is known.
        version: what changes with each tick: its time and its last tick, as they are stored.
        server_ms: the server's clock.
    """

    id: str
    record: StoredSchedule | None
    pending: bool
    paused: bool
    declared: bool
    last_ms: int
    version: tuple[bytes, bytes]
    server_ms: int


async def schedule_state(client: Client, keys: QueueKeys, scheduler: str, deadline: float | None) -> ScheduleState:
    """One schedule. Script: schedules.

    Raises:
        RedisUnavailable: as `Client.call`.
        ScriptError: the same, or the record is damaged.
    """
    (found,) = await _read(client, keys, [0, 0, scheduler], deadline)
    if isinstance(found, ScriptError):
        raise found
    return found


async def schedule_states(client: Client, keys: QueueKeys, deadline: float | None) -> list[ScheduleState]:
    """The schedules of a queue whose records can be read, the next to tick first. Script: schedules."""
    by_id: dict[str, ScheduleState] = {}
    first = 0
    while True:
        page = await _read(client, keys, [first, first + _PAGE - 1], deadline)
        by_id |= {state.id: state for state in page if isinstance(state, ScheduleState) and state.record is not None}
        if len(page) < _PAGE:
            return list(by_id.values())
        first += _PAGE


async def declared_ids(client: Client, keys: QueueKeys) -> list[str]:
    """The ids of a queue's schedules that stand in code. Script: schedules."""
    _, *found = await client.script(keys.slot, script("schedules"), _arguments(keys, ["declared", ""]))
    return [each[0].decode("utf-8", "replace") for each in found]


def _arguments(keys: QueueKeys, which: Sequence[int | str]) -> tuple[Argument, ...]:
    return (keys.repeat, keys.schedules, keys.ticks, keys.base, *which)


async def _read(
    client: Client, keys: QueueKeys, which: Sequence[int | str], deadline: float | None
) -> list[ScheduleState | ScriptError]:
    arguments = _arguments(keys, which)
    server_ms, *found = await retry(lambda: client.script(keys.slot, script("schedules"), arguments), deadline=deadline)
    return [_state(each, int(server_ms)) for each in found]


def _state(reply: list[Any], server_ms: int) -> ScheduleState | ScriptError:
    scheduler, fields, due, pending, paused, declared, last = reply
    record = None
    try:
        if due:
            named = {k.decode(): v.decode() for k, v in zip(fields[::2], fields[1::2], strict=True)}
            record = stored_schedule(named, due)
        last_ms = bounded_ms(float(last or 0))
    except (ValueError, OverflowError, RecursionError) as error:
        return ScriptError(f"the record of the schedule is damaged ({type(error).__name__})")
    flags = (pending == 1, paused == 1, declared == 1)
    return ScheduleState(scheduler.decode("utf-8", "replace"), record, *flags, last_ms, (due, last), server_ms)


def stored_schedule(fields: dict[str, str], next_ms: bytes) -> StoredSchedule:
    """A scheduler's record; raises ValueError or OverflowError for a damaged one."""
    every = fields.get("every")
    return StoredSchedule(
        name=fields.get("name", ""),
        repeat=Repeat(fields.get("pattern"), fields.get("tz"), int(float(every)) if every else None),
        data=json.loads(fields.get("data", "{}")),
        options=json.loads(fields.get("opts", "{}")),
        next_ms=bounded_ms(float(next_ms)),
        bounded="limit" in fields or "endDate" in fields or fields.get("offset", "0") != "0",
    )
