"""Puts a failed job back on its queue."""

from __future__ import annotations

from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.scripts import script

MISSING = -1


async def reprocess(queue: BullQueue, job_id: str) -> int:
    """Put a job back that is kept in `failed`, its attempts counted anew: 1; MISSING, or -3 if it is not in there.

    Script: reprocessJob.

    Raises:
        RedisUnavailable, ScriptError: as `Client.call`.
    """
    k = queue.keys
    keys = (k.job(job_id), k.events, k.failed, k.wait, k.meta, k.active, k.marker, k.prioritized, k.pc)
    # Its fence goes on: a store may have refused an older run by it.
    arguments = (*keys, job_id, "LPUSH", "failedReason", "failed", "1", "0", k.base)
    return int(await queue.client.script(k.slot, script("reprocess"), arguments))
