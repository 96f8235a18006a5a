"""Puts a failed event back on its queue, or emits it again."""

from __future__ import annotations

from oxherd.bullmq.job import NewJob
from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.reprocess import MISSING, reprocess
from oxherd.bullmq.shards import shard_queues
from oxherd.declaration import MAX_SHARDS, Declaration
from oxherd.lineage import Lineage
from oxherd.payload.failure import FailedJob
from oxherd.producer.backend import Backend
from oxherd.redis.call_state import CallState


async def send_back(
    backend: Backend, declaration: Declaration, job: FailedJob, deadline: float, state: CallState
) -> bool:
    """Whether it was put back; False if it is stored, and not failed.

    Raises:
        RedisUnavailable, ScriptError: as `BullQueue.add`.
    """
    queue = _queue_of(backend, declaration, job)
    reply = await reprocess(queue, job.id)
    if reply != MISSING:
        return reply > 0
    metadata = Lineage(job.caused_by, job.root).to_json()
    # Without `once`, which would make no second event of the id.
    await queue.add(
        NewJob(job.id, declaration.name, job.data, declaration.options, durable=declaration.durable, metadata=metadata),
        deadline=deadline,
        state=state,
    )
    return True


def _queue_of(backend: Backend, declaration: Declaration, job: FailedJob) -> BullQueue:
    """The queue that it failed on; any program may have written the number of its shard."""
    if declaration.own_queue and 0 < job.shard < MAX_SHARDS:
        return backend.queue_named(shard_queues(declaration.name, job.shard + 1)[job.shard])
    return backend.queue(declaration)
