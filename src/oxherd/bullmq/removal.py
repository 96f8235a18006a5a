"""Removes jobs that no worker runs."""

from __future__ import annotations

from enum import IntEnum

from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.scripts import script


class Removal(IntEnum):
    """What became of a wish to remove a job."""

    ELSEWHERE = 0  # it is in another state, or not stored
    DONE = 1
    TICK = -8  # it is a schedule's next tick


async def remove_job(queue: BullQueue, job_id: str, *states: str) -> Removal:
    """Remove a job if it is in one of some states, the last parts of these keys. Script: removeJob.

    Raises:
        RedisUnavailable, ScriptError: as `Client.script`.
    """
    k = queue.keys
    clustered = "1" if queue.client.url.topology == "cluster" else ""
    arguments = (k.job(job_id), k.repeat, job_id, "0", k.base, clustered, *states)
    return Removal(await queue.client.script(k.slot, script("remove"), arguments))
