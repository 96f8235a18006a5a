"""`unknown_queues()`: queues of the prefix that no event declares."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable

from oxherd.admin.moments import moment
from oxherd.admin.rows import UnknownQueue
from oxherd.admin.target import Herd, asked, connected
from oxherd.bullmq.keys import has_hash_tag
from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.queue_counts import QueueCounts, queue_counts, queue_names
from oxherd.bullmq.shards import shard_number
from oxherd.errors import RedisUnavailable
from oxherd.producer.backend import Backend

_SHARD = re.compile(r"\{([^/{}]+)/\d+\.\d+\}")


async def unknown_queues(herd: Herd) -> list[UnknownQueue]:
    """The queues of a herd's prefix that none of its events has, by name."""
    backend = await connected(herd)
    first = backend.queue_named("")
    names = await asked(herd, first, lambda: queue_names(backend.client, herd.prefix))
    if backend.client.url.topology == "cluster":
        # Without a tag its keys are in many slots: nothing of BullMQ's works on it.
        names = [name for name in names if has_hash_tag(f"{herd.prefix}:{name}")]
    groups: dict[str, list[str]] = {}
    for name in names:
        if not is_declared(herd, name):
            groups.setdefault(plain_name(name), []).append(name)
    found = await asyncio.gather(*(_counted(herd, backend, name, queues) for name, queues in groups.items()))
    return [queue for queue in found if queue is not None]


async def _counts(herd: Herd, queue: BullQueue) -> QueueCounts | None:
    """What a queue holds; None where the server's user may not read it."""

    async def read() -> QueueCounts | None:
        try:
            return await queue_counts(queue)
        except RedisUnavailable as error:
            if error.source == "auth":
                return None
            raise

    return await asked(herd, queue, read)


async def _counted(herd: Herd, backend: Backend, name: str, queues: Iterable[str]) -> UnknownQueue | None:
    read = await asyncio.gather(*(_counts(herd, backend.queue_named(queue)) for queue in queues))
    counts = [each for each in read if each is not None]
    if not counts:
        return None
    return UnknownQueue(
        name=name,
        queues=tuple(queues),
        waiting=sum(count.waiting for count in counts),
        running=sum(count.running for count in counts),
        delayed=sum(count.delayed for count in counts),
        failed=sum(count.failed for count in counts),
        completed=sum(count.completed for count in counts),
        schedules=sum(count.schedules for count in counts),
        workers=max(count.workers for count in counts),
        oldest_at=moment(min((count.oldest_ms for count in counts if count.oldest_ms), default=0)),
    )


def is_declared(herd: Herd, queue: str) -> bool:
    """Whether an event has that queue, or had it with another number of shards."""
    return any(
        event.declaration.queue == queue or (event.declaration.own_queue and shard_number(event.name, queue) > 0)
        for event in herd
    )


def plain_name(queue: str) -> str:
    """The name of the plain queue, of a shard's."""
    found = _SHARD.fullmatch(queue)
    return queue if found is None else f"{{{found[1]}}}"
