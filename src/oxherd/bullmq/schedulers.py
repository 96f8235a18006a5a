"""BullMQ's job schedulers: a record of each schedule, and one job for its next tick."""

from __future__ import annotations

from enum import Enum
from typing import Any, Literal

from oxherd.bullmq.clock import now_ms
from oxherd.bullmq.job import Job
from oxherd.bullmq.keys import QueueKeys
from oxherd.bullmq.pack import pack
from oxherd.bullmq.schedule_states import (
    Repeat,
    ScheduleState,
    StoredSchedule,
    declared_ids,
    schedule_state,
    schedule_states,
)
from oxherd.bullmq.scripts import script
from oxherd.errors import ScheduleError
from oxherd.policy import json_number
from oxherd.redis.client import Argument, Client, ScriptError
from oxherd.redis.retry import retry
from oxherd.schedule.declared import MADE_UP, MISSED

Mark = Literal["declared", "undeclared", "resumed"]


class Upsert(Enum):
    """What became of a schedule that was to be stored; the values are the script's replies."""

    STORED = 0
    CHANGED = -20  # by others, since it was read
    TAKEN = -21  # a job of that tick is stored, and cannot be replaced


class Schedulers:
    """A queue's schedulers."""

    def __init__(self, client: Client, keys: QueueKeys) -> None:
        self._client = client
        self._keys = keys

    async def get(self, scheduler: str, deadline: float | None = None) -> StoredSchedule | None:
        """A scheduler's record, or None. Script: schedules."""
        return (await self.state(scheduler, deadline)).record

    async def state(self, scheduler: str, deadline: float | None = None) -> ScheduleState:
        """A schedule, with what is kept beside its record. Script: schedules. Raises as `Client.call`."""
        return await schedule_state(self._client, self._keys, scheduler, deadline)

    async def states(self, deadline: float | None = None) -> list[ScheduleState]:
        """Every schedule of the queue whose record can be read. Script: schedules."""
        return await schedule_states(self._client, self._keys, deadline)

    async def declared_ids(self) -> list[str]:
        """The ids of those that stand in code. Script: schedules."""
        return await declared_ids(self._client, self._keys)

    async def is_latest(self, job: Job) -> bool:
        """Whether a tick is the last that its schedule has stored, so that the next depends on it. Command: ZSCORE."""
        score = await self._client.call(self._keys.slot, "ZSCORE", self._keys.repeat, job.scheduler or "")
        return score is not None and job.id == f"repeat:{job.scheduler}:{score.decode()}"

    async def upsert(
        self,
        read: ScheduleState,
        name: str,
        repeat: Repeat,
        data: bytes,
        options: dict[str, Any],
        next_ms: int,
        mark: Mark,
        *,
        deadline: float,
    ) -> Upsert:
        """Store a schedule, if it is still as it was `read`, and the job of its next tick, which may be due already.

        Script: schedule. A paused one stays so, unless the mark is "resumed".
        """
        k, scheduler = self._keys, read.id
        record: dict[str, Any] = {"name": name, **repeat.options}
        now = now_ms()
        if repeat.every is not None:
            # The script counts an interval from its start date or from now, whichever is later: the ticks are multiples
            # of the interval only if the start is in the future.
            record |= {"startDate": next_ms, "offset": 0}
            now = min(now, next_ms - 1)
        arguments = (
            k.repeat, k.delayed, k.wait, k.paused, k.meta, k.prioritized, k.marker, k.id, k.events, k.pc, k.active,
            next_ms, pack(record), scheduler, data, pack(options),
            pack(_tick_options(scheduler, options, repeat.options, next_ms, 1)), now, k.base, "",
            *read.version, mark, k.schedules, k.ticks,
        )  # fmt: skip
        reply = await self._retry("schedule", arguments, deadline)
        if isinstance(reply, int) and reply not in (Upsert.CHANGED.value, Upsert.TAKEN.value):
            raise ScriptError(f"addJobScheduler replied {reply}")
        return Upsert(reply) if isinstance(reply, int) else Upsert.STORED

    async def advance(self, job: Job, next_ms: int) -> None:
        """Add the tick after one that has begun, once, in one attempt. Script: advance.

        Raises:
            ScheduleError: the next tick cannot have the options of `job`, which another program wrote.
        """
        k = self._keys
        arguments = (
            k.repeat, k.delayed, k.wait, k.paused, k.meta, k.prioritized, k.marker, k.id, k.events, k.pc,
            k.job(job.id), k.active, next_ms, job.scheduler or "", job.data, packed_tick(job, next_ms),
            # One that is made up for must not count as too late.
            next_ms - 1 if is_made_up(job, next_ms) else now_ms(),
            k.base, job.id, k.ticks,
        )  # fmt: skip
        await self._client.script(k.slot, script("advance"), arguments)

    async def remove(self, scheduler: str, *, only_declared: bool = False, deadline: float | None) -> bool:
        """Remove a scheduler and its next tick; returns whether there was one. Script: unschedule."""
        k = self._keys
        arguments = (k.repeat, k.delayed, k.events, scheduler, k.base, k.schedules, "1" if only_declared else "")
        return await self._retry("unschedule", arguments, deadline) == 0

    async def pause(self, scheduler: str, *, deadline: float) -> bool:
        """Take a schedule's next tick off, and add none until it is resumed; returns whether there is such a schedule.

        Script: pause_schedule.
        """
        k = self._keys
        arguments = (k.repeat, k.delayed, k.events, k.schedules, scheduler, k.base)
        return await self._retry("pause_schedule", arguments, deadline) == 1

    async def _retry(self, name: str, arguments: tuple[Argument, ...], deadline: float | None) -> Any:
        return await retry(lambda: self._client.script(self._keys.slot, script(name), arguments), deadline=deadline)


def is_made_up(job: Job, next_ms: int) -> bool:
    """Whether the tick after `job` was missed, and is made all the same."""
    return job.options.get(MISSED) == "all" and next_ms <= now_ms()


def packed_tick(job: Job, next_ms: int) -> bytes:
    """The packed options of the tick after `job`.

    Raises:
        ScheduleError: as `advance`.
    """
    options = {name: value for name, value in job.options.raw.items() if name not in ("repeat", MADE_UP)}
    if is_made_up(job, next_ms):
        options[MADE_UP] = int(json_number(job.options.get(MADE_UP)) or 0) + 1
    count = int(json_number(job.options.repeat.get("count")) or 0) + 1
    try:
        return pack(_tick_options(job.scheduler or "", options, job.options.repeat, next_ms, count))
    except (ValueError, OverflowError, RecursionError) as error:
        reason = type(error).__name__
    raise ScheduleError(f"The options of a schedule's tick cannot be sent ({reason}): schedule it again.")


def _tick_options(
    scheduler: str, options: dict[str, Any], repeat: dict[str, Any], next_ms: int, count: int
) -> dict[str, Any]:
    """The options of a tick's job, as Node's JobScheduler writes them."""
    now = now_ms()
    return {
        **options,
        "jobId": f"repeat:{scheduler}:{next_ms}",
        "delay": max(0, next_ms - now),
        "timestamp": now,
        "prevMillis": next_ms,
        "repeatJobKey": scheduler,
        "repeat": {**repeat, "count": count},
    }
