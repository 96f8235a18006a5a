"""Takes a job off its queue that BullMQ's scripts cannot read."""

from __future__ import annotations

from oxherd.bullmq.job import Job
from oxherd.signals import ErrorInfo
from oxherd.worker.failures import Told, failure_message
from oxherd.worker.fault_reporter import damaged_job
from oxherd.worker.job_options import keep_of
from oxherd.worker.served_queue import ServedQueue

_PARENT_NOT_TOLD = ErrorInfo(
    "ParentNotTold", "the job was taken off the queue, and its parent cannot be told of its end; remove or mend the job"
)


async def quarantine(served: ServedQueue, job: Job, damage: str = "") -> str | None:
    """Send a damaged job to failed, where it is kept as its options or its event say; returns what is wrong with it.

    `damage` says it; if empty, the script finds out. None: nothing is wrong, or another worker has the job.

    Raises:
        RedisUnavailable, ScriptError: as `Client.script`.
    """
    declaration = served.declaration_of(job)
    told = Told(damaged_job(damage or "its hash or a part of it is damaged"), job.attempts_made)
    message = failure_message(served.queue.keys.queue, job, declaration, told)
    keep = keep_of(job, declaration, "failed")
    found = await served.queue.quarantine(job, damage, keep, b"" if message is None else message.packed)
    if found is None:
        return None
    served.outgoing.written(message)
    what, untold = found
    if untold:
        served.faults.of_job("finish", _PARENT_NOT_TOLD, job)
    return what
