"""`move()`: what waits under a renamed event goes to the event's queue, at least once."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from oxherd.admin.operation import Operation
from oxherd.admin.target import Herd, asked, connected
from oxherd.admin.unknown import is_declared
from oxherd.bullmq.job import Job, NewJob, event_id_text
from oxherd.bullmq.job_sets import SETS, Cursor, FoundJob, JobFilter, JobSet, count, read_page
from oxherd.bullmq.keys import QueueKeys
from oxherd.bullmq.options import without_metadata
from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.queue_counts import is_queue_name
from oxherd.bullmq.removal import Removal, remove_job
from oxherd.bullmq.shards import shard_queues
from oxherd.declaration import MAX_SHARDS
from oxherd.errors import OxherdError, RedisUnavailable, UsageError
from oxherd.event import Event
from oxherd.redis.call_state import CallState, Unconfirmed
from oxherd.redis.client import ScriptError

_BATCH = 100
# Of payloads that are read at once.
_PAYLOADS = 20
_ONCE_MS = 86_400_000
_TICK = b"repeat:"
_PLAIN = re.compile(r"\{([^{}]+)\}")
_ALL = JobFilter()


@dataclass
class _Source:
    """A list or set of a queue, and how far it was gone through."""

    queue: BullQueue
    jobs: JobSet
    cursor: Cursor


class Move(Operation):
    """Moves what waits in a queue to an event's. Made by `Admin.move`.

    Raises:
        UsageError: the queue is an event's, or its name cannot be one.
    """

    def __init__(self, herd: Herd, queue: str, event: Event[Any, Any]) -> None:
        super().__init__(herd, "move")
        if not is_queue_name(queue):
            raise UsageError("move takes a queue's name, as unknown_queues() has it.")
        if is_declared(herd, queue):
            raise UsageError(f"The queue {queue} is an event's: only what no event has any more is moved.")
        self._queue = queue
        self._event = event
        self._sources: list[_Source] = []

    async def _count(self) -> int | None:
        each = [
            asked(self._herd, source.queue, lambda s=source: count(s.queue, s.jobs, _ALL))
            for source in await self._all_sources()
        ]
        return sum(await asyncio.gather(*each))

    async def _begin(self) -> None:
        self._sources = await self._all_sources()
        self._total = await self._count()
        declaration = self._event.declaration
        backend = await self._herd.backend()
        if declaration.own_queue:
            await asked(self._herd, backend.queue(declaration), backend.shard_registry(declaration).announce)

    async def _all_sources(self) -> list[_Source]:
        """Where jobs wait: in the order in which they would begin, so that they keep it."""
        backend = await connected(self._herd)
        home = backend.queue_named(self._queue)
        queues = [home]
        plain = _PLAIN.fullmatch(self._queue)
        if plain is not None:
            k = home.keys
            stored = await asked(
                self._herd, home, lambda: home.client.call(k.slot, "ZSCORE", k.base + "shards", "most")
            )
            most = int(max(1, min(MAX_SHARDS, float(stored or 1))))
            names = await asyncio.to_thread(shard_queues, plain[1], most) if most > 1 else ()
            queues += [backend.queue_named(name) for name in names[1:]]
        sets = (*SETS["waiting"], *SETS["delayed"])
        return [_Source(queue, jobs, Cursor()) for queue in queues for jobs in sets]

    async def _act_on_batch(self) -> bool:
        if not self._sources:
            return False
        source = self._sources[0]
        page = await asked(
            self._herd,
            source.queue,
            lambda: read_page(source.queue, source.jobs, _ALL, source.cursor, look_at=_BATCH, most=_BATCH),
        )
        kept = [job for job in page.jobs if job.cursor.id.startswith(_TICK)]
        movable = [job for job in page.jobs if not job.cursor.id.startswith(_TICK)]
        for start in range(0, len(movable), _PAYLOADS):
            kept += await self._move_some(source, movable[start : start + _PAYLOADS])
        if len(kept) > 0 and any(job.cursor.id.startswith(_TICK) for job in kept):
            self._problem("The next ticks of schedules stay; declare the schedules on the event, and end the old ones.")
        self._skipped += len(kept)
        if source.jobs.is_list:
            source.cursor = max((job.cursor for job in kept), key=lambda each: int(each.at), default=source.cursor)
        elif page.looked_at:
            source.cursor = page.last
        if page.at_end or not page.looked_at:
            self._sources.pop(0)
        return bool(self._sources)

    async def _move_some(self, source: _Source, found: Sequence[FoundJob]) -> list[FoundJob]:
        """Move some jobs, in order; returns those that stay."""
        queue = source.queue
        reads = (asked(self._herd, queue, lambda j=job: queue.read(j.cursor.id, "")) for job in found)
        stored = await asyncio.gather(*reads)
        kept: list[FoundJob] = []
        for job, whole in zip(found, stored, strict=True):
            if not await self._move_one(source, job, whole):
                kept.append(job)
        return kept

    async def _move_one(self, source: _Source, found: FoundJob, job: Job) -> bool:
        if job.damage is not None:
            self._problem(f"The queue {source.queue.keys.queue} has a job that stays, since {job.damage}.")
            return False
        try:
            await self._add(source, found, job)
            states = [jobs.key for jobs in (*SETS["waiting"], *SETS["delayed"])]
            removed = await asked(self._herd, source.queue, lambda: remove_job(source.queue, job.id, *states))
        except RedisUnavailable:
            raise
        except (OxherdError, ScriptError, Unconfirmed) as error:
            self._problem(f"A job stays, since {self._event.name} does not take it ({str(error).rstrip('.')}).")
            return False
        if removed is not Removal.DONE:
            self._problem("What a worker of the old queue has begun meanwhile runs there as well.")
        self._done += 1
        return True

    async def _add(self, source: _Source, found: FoundJob, job: Job) -> None:
        """Add it to the event's queue, unless that was done within a day. Raises as `BullQueue.add`."""
        herd, declaration = self._herd, self._event.declaration
        backend = await herd.backend()
        _, metadata = without_metadata(job.written_options)
        event_id = str(UUID(event_id_text(source.queue.keys.queue, job.id)))
        priority = job.options.get("priority")
        new = NewJob(
            event_id,
            declaration.name,
            job.data,
            declaration.options,
            priority=priority if type(priority) is int else 0,
            once_ms=_ONCE_MS,
            durable=declaration.durable,
            metadata=metadata,
            emitted_ms=job.timestamp_ms,
        )
        now = await asked(herd, source.queue, source.queue.server_ms)
        if source.jobs.key == "delayed" and not found.held and found.due_ms > now:
            new = replace(new, delay_ms=found.due_ms - now, due_ms=found.due_ms)
        own = declaration.own_queue
        target = backend.shard_router(declaration).queue(new) if own else backend.queue(declaration)
        # Alone, with the time of its emit.
        plain = BullQueue(target.client, QueueKeys(herd.prefix, target.keys.queue))
        await plain.add(new, deadline=_deadline(herd), state=CallState())


def _deadline(herd: Herd) -> float:
    return time.monotonic() + herd.emit_timeout
