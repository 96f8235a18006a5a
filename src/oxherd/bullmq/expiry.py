"""Jobs that expire: the note that one has begun, after which it is never dropped as expired."""

from __future__ import annotations

from typing import Any

from oxherd.bullmq.clock import now_ms
from oxherd.bullmq.job import Job
from oxherd.bullmq.queue import BullQueue
from oxherd.policy import EXPIRES


def late_ms(job: Job) -> int:
    """For how many milliseconds, by this machine's clock, it has been too late to begin a job; 0: it is not."""
    expires_at = job.expires_at_ms
    if not expires_at or job.has_begun:
        return 0
    return max(0, now_ms() - expires_at)


async def mark_ran(queue: BullQueue, job: Job, *, ran: bool = True) -> bool:
    """Note that a job begins, or take that back; False if the job is not ours.

    Field of the job: `ox:ran`. Script: note.
    """
    return await queue.note(job, "ox:ran", "1" if ran else "")


def options_of_forwarded(job: Job, options: dict[str, Any]) -> dict[str, Any]:
    """The options of a job that takes the place of `job` now, and expires when that would have."""
    expires_at = job.expires_at_ms
    return options | {EXPIRES: max(1, expires_at - now_ms())} if expires_at else options
