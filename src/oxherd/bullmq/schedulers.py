"""BullMQ's job schedulers: a record of each schedule, and one job for its next tick."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from oxherd.bullmq.clock import bounded_ms, now_ms
from oxherd.bullmq.job import Job
from oxherd.bullmq.keys import QueueKeys
from oxherd.bullmq.pack import pack
from oxherd.bullmq.scripts import script
from oxherd.errors import ScheduleError
from oxherd.policy import json_number
from oxherd.redis.client import Argument, Client, ScriptError
from oxherd.redis.retry import retry

_ID_COLLISION = -10


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
    """A scheduler's record; `next_ms` is when its next tick is due, in milliseconds since the epoch."""

    name: str
    repeat: Repeat
    data: Any
    options: Any
    next_ms: int

    def matches(self, name: str, repeat: Repeat, options: dict[str, Any]) -> bool:
        """Whether the record has this name, repeat and options."""
        return (self.name, self.repeat, self.options) == (name, repeat, options)


class Schedulers:
    """A queue's schedulers."""

    def __init__(self, client: Client, keys: QueueKeys) -> None:
        self._client = client
        self._keys = keys

    async def get(self, scheduler: str, deadline: float | None = None) -> StoredSchedule | None:
        """A scheduler's record, or None. Script: getJobScheduler."""
        reply = await self._retry("getJobScheduler", (self._keys.repeat, scheduler), deadline)
        if not reply or not reply[0]:
            return None
        fields = {k.decode(): v.decode() for k, v in zip(reply[0][::2], reply[0][1::2], strict=True)}
        try:
            return _stored(fields, reply[1])
        except (ValueError, OverflowError) as error:
            raise ScriptError(f"the record of the schedule is damaged ({type(error).__name__})") from None

    async def pending(self, scheduler: str, tick_ms: int) -> bool:
        """Whether the job of a tick is stored, in any state. Command: EXISTS."""
        key = self._keys.job(f"repeat:{scheduler}:{tick_ms}")
        return bool(await self._client.call(self._keys.slot, "EXISTS", key))

    async def is_latest(self, job: Job) -> bool:
        """Whether a tick is the last that its schedule has stored, so that the next depends on it. Command: ZSCORE."""
        score = await self._client.call(self._keys.slot, "ZSCORE", self._keys.repeat, job.scheduler or "")
        return score is not None and job.id == f"repeat:{job.scheduler}:{score.decode()}"

    async def upsert(
        self,
        scheduler: str,
        name: str,
        repeat: Repeat,
        data: bytes,
        options: dict[str, Any],
        next_ms: int,
        *,
        deadline: float,
    ) -> bool:
        """Store a scheduler and the job of its next tick, which may be due already. Script: addJobScheduler.

        Returns False if a job of the same tick is stored that cannot be replaced.
        """
        k = self._keys
        record: dict[str, Any] = {"name": name, **repeat.options}
        now = now_ms()
        if repeat.every is not None:
            # The script counts a new or changed interval from its start date or from now, whichever is later: the ticks
            # are multiples of the interval only if the start is in the future.
            record |= {"startDate": next_ms, "offset": 0}
            now = min(now, next_ms - 1)
        arguments = (
            k.repeat, k.delayed, k.wait, k.paused, k.meta, k.prioritized, k.marker, k.id, k.events, k.pc, k.active,
            next_ms, pack(record), scheduler, data, pack(options),
            pack(_tick_options(scheduler, options, repeat.options, next_ms, 1)), now, k.base, "",
        )  # fmt: skip
        reply = await self._retry("addJobScheduler", arguments, deadline)
        if isinstance(reply, int) and reply != _ID_COLLISION:
            raise ScriptError(f"addJobScheduler replied {reply}")
        return not isinstance(reply, int)

    async def advance(self, job: Job, next_ms: int) -> None:
        """Add the tick after one that has begun, once, in one attempt. Script: advance.

        Raises:
            ScheduleError: the next tick cannot have the options of `job`, which another program wrote.
        """
        k = self._keys
        arguments = (
            k.repeat, k.delayed, k.wait, k.paused, k.meta, k.prioritized, k.marker, k.id, k.events, k.pc,
            k.job(job.id), k.active, next_ms, job.scheduler or "", job.data, packed_tick(job, next_ms), now_ms(),
            k.base, job.id,
        )  # fmt: skip
        await self._client.script(k.slot, script("advance"), arguments)

    async def remove(self, scheduler: str, *, deadline: float) -> bool:
        """Remove a scheduler and its next tick; returns whether there was one. Script: removeJobScheduler."""
        k = self._keys
        return (
            await self._retry("removeJobScheduler", (k.repeat, k.delayed, k.events, scheduler, k.base), deadline) == 0
        )

    async def _retry(self, name: str, arguments: tuple[Argument, ...], deadline: float | None) -> Any:
        return await retry(lambda: self._client.script(self._keys.slot, script(name), arguments), deadline=deadline)


def _stored(fields: dict[str, str], next_ms: bytes) -> StoredSchedule:
    every = fields.get("every")
    return StoredSchedule(
        name=fields.get("name", ""),
        repeat=Repeat(fields.get("pattern"), fields.get("tz"), int(float(every)) if every else None),
        data=json.loads(fields.get("data", "{}")),
        options=json.loads(fields.get("opts", "{}")),
        next_ms=bounded_ms(float(next_ms)),
    )


def packed_tick(job: Job, next_ms: int) -> bytes:
    """The packed options of the tick after `job`.

    Raises:
        ScheduleError: as `advance`.
    """
    options = {name: value for name, value in job.options.raw.items() if name != "repeat"}
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
