"""A job's log, which Node's boards and `Queue.getJobLogs` show: its last lines, each of a bounded length."""

from __future__ import annotations

from typing import Final

from oxherd.bullmq.job import Job
from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.scripts import script

MOST_LINES: Final = 100
LONGEST_LINE: Final = 1_000
_BYTES: Final = 4 * LONGEST_LINE


async def add_line(queue: BullQueue, job: Job, line: str) -> int:
    """Add a line to a job's log, if the job is still ours; negative if it is not. Script: addLog.

    Raises:
        RedisUnavailable, ScriptError: as `Client.script`.
    """
    k = queue.keys
    arguments = (k.job(job.id), k.logs(job.id), job.id, line.encode(), MOST_LINES, job.token, job.fence)
    return int(await queue.client.script(k.slot, script("add_log"), arguments))


async def log_lines(queue: BullQueue, job_id: str) -> list[str]:
    """The last 100 lines of a job's log, which any program may have written. Script: logs.

    Raises:
        RedisUnavailable, ScriptError: as `Client.script`.
    """
    k = queue.keys
    found: list[bytes] = await queue.client.script(k.slot, script("logs"), (k.logs(job_id), MOST_LINES, _BYTES))
    return [line.decode("utf-8", "replace")[:LONGEST_LINE] for line in found]
