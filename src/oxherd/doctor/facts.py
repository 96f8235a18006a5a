"""What the checks look at: read once, each in bounded steps."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from oxherd.admin import EventRow, KeyRow, ScheduleRow, Story, UnknownQueue
from oxherd.app import Oxherd
from oxherd.bullmq.queue_sizes import QueueSizes, queue_sizes
from oxherd.bullmq.server_state import ServerState, server_states
from oxherd.bullmq.worker_info import WorkerInfo
from oxherd.errors import OxherdError
from oxherd.payload.failure import EventError
from oxherd.policy import Keep
from oxherd.redis.client import ScriptError

# Failures are counted of the last hour, so many of each event at most.
RECENT = timedelta(hours=1)
MOST_FAILURES = 200
# Of runs that last longer than their lock, the oldest.
_MOST_LONG_RUNS = 20
_LONGEST_MESSAGE = 80


@dataclass(frozen=True, slots=True)
class LongRun:
    """A run that has lasted longer than its event's lock; `story` as it was after that was seen."""

    event: str
    id: UUID
    seconds: float
    lock: float
    story: Story


@dataclass(frozen=True, slots=True)
class Failures:
    """An event's failures of the last hour: how many by the type of their error, and one of those with the most."""

    by_type: Counter[str]
    example: UUID


@dataclass(frozen=True)
class Facts:
    """What was read. `now` is by the clock of the first server."""

    target: str
    now: datetime
    servers: list[ServerState]
    events: list[EventRow]
    workers: list[WorkerInfo]
    schedules: list[ScheduleRow]
    unknown: list[UnknownQueue]
    keys: list[KeyRow]
    failures: dict[str, Failures]
    long_runs: list[LongRun]
    sizes: list[QueueSizes] = field(default_factory=list[QueueSizes])
    keeps: dict[str, Keep] = field(default_factory=dict[str, Keep])

    def waits(self, row: EventRow) -> bool:
        """Whether something waits that could begin now."""
        return row.waiting > 0 or (row.next_due_at is not None and row.next_due_at < self.now - timedelta(seconds=5))


async def read_quick_facts(herd: Oxherd, target: str) -> Facts:
    """Read what is cheap enough to be read every few seconds; `Facts` without the rest.

    Cost: as `Admin.events`, `schedules`, `workers` and `busiest_keys`. Raises as `read_facts`.
    """
    admin = herd.admin
    events, schedules, workers = await asyncio.gather(admin.events(), admin.schedules(), admin.workers())
    keys = await admin.busiest_keys()
    return Facts(target, datetime.now(UTC), [], events, workers, schedules, [], keys, {}, [], keeps=_keeps(herd))


async def read_facts(herd: Oxherd, target: str) -> Facts:
    """Read all that the checks need.

    Cost: as `Admin.events`, `unknown_queues`, `schedules`, `workers` and `busiest_keys`; INFO and TIME on each
    primary; XLEN, HLEN and HGET on each queue; up to 200 failures of each event that has failed within the hour; up
    to 20 `Admin.show`.

    Raises:
        RedisUnavailable: a server cannot be reached, or refuses us.
        OxherdError: a key is damaged.
    """
    client = (await herd.backend()).client
    try:
        servers = await server_states(client)
    except ScriptError as error:
        raise OxherdError(f"The server refuses INFO or TIME ({str(error).rstrip('.')}); grant them.") from None
    quick, unknown = await asyncio.gather(read_quick_facts(herd, target), herd.admin.unknown_queues())
    now = datetime.now(UTC) + timedelta(seconds=servers[0].clock_ahead)
    sizes = await _sizes(herd, quick.events)
    facts = replace(quick, now=now, servers=servers, unknown=unknown, sizes=sizes)
    for row in facts.events:
        if row.last_failed_at is not None and row.last_failed_at > now - RECENT:
            facts.failures.update(await _failures(herd, row.name))
    facts.long_runs.extend(await _long_runs(herd, facts))
    return facts


def _keeps(herd: Oxherd) -> dict[str, Keep]:
    return {event.name: event.declaration.keep for event in herd}


async def _sizes(herd: Oxherd, events: list[EventRow]) -> list[QueueSizes]:
    backend = await herd.backend()
    names = dict.fromkeys(name for row in events for name in row.queues)
    return list(await asyncio.gather(*(queue_sizes(backend.queue_named(name)) for name in names)))


async def _failures(herd: Oxherd, event: str) -> dict[str, Failures]:
    by_type: Counter[str] = Counter()
    examples: dict[str, UUID] = {}
    async for found in herd.admin.find(event, since=RECENT, limit=MOST_FAILURES):
        error = found.error or EventError("", "an unknown error")
        kind = error.type or error.message[:_LONGEST_MESSAGE]
        by_type[kind] += 1
        examples.setdefault(kind, found.id)
    return {event: Failures(by_type, examples[by_type.most_common(1)[0][0]])} if by_type else {}


async def _long_runs(herd: Oxherd, facts: Facts) -> list[LongRun]:
    locks = {event.name: event.declaration.lock for event in herd}
    found: list[LongRun] = []
    for worker in facts.workers:
        # By the worker's own clock.
        now = facts.now + timedelta(seconds=worker.clock_ahead or 0)
        for run in worker.running:
            lock, seconds = locks.get(run.event), (now - run.since).total_seconds()
            if lock is None or seconds <= lock or len(found) >= _MOST_LONG_RUNS:
                continue
            story = await herd.admin.show(run.id, event=run.event)
            if story is not None and story.state == "running":
                found.append(LongRun(run.event, run.id, seconds, lock, story))
    return found
