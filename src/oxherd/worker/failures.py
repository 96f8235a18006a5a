"""The message that tells an event's `on_failed` of its failure."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID, uuid5

from oxherd.bullmq.clock import now_ms
from oxherd.bullmq.job import Job, event_id_text
from oxherd.bullmq.outbox import Message
from oxherd.bullmq.shards import shard_number
from oxherd.declaration import Declaration
from oxherd.lineage import Lineage
from oxherd.payload.failure import EventError, failure_json
from oxherd.signals import ErrorInfo


class Told(NamedTuple):
    """What `on_failed` is told of a failure: the error, redacted, and how often the handler was tried."""

    error: ErrorInfo
    attempts: int


def failure_message(queue: str, job: Job, declaration: Declaration | None, told: Told) -> Message | None:
    """The message of a job that fails for good; None if its event has no `on_failed`."""
    if declaration is None or declaration.on_failed is None:
        return None
    event_id = event_id_text(queue, job.id)
    lineage, root = job.lineage, job.lineage.root or event_id
    data = failure_json(
        event=declaration.name,
        event_id=event_id,
        data=job.data,
        error=EventError(told.error.type, told.error.message),
        attempts=told.attempts,
        caused_by=lineage.caused_by,
        root=root,
        failed_ms=now_ms(),
        shard=shard_number(declaration.name, queue),
        job_id=job.id,
    )
    metadata = Lineage(event_id, root, lineage.trace).to_json()
    return Message(_failure_id(declaration.name, event_id, job), declaration.on_failed.name, data, metadata)


def _failure_id(event: str, event_id: str, job: Job) -> str:
    """The same wherever this failure is written again; another if its id is emitted again, or by another event."""
    return str(uuid5(UUID(event_id), f"{event}:failed:{job.fence}:{job.timestamp_ms}"))
