"""What a handler reports while it runs, stored in its event's job as long as that is its own."""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json

from oxherd.bullmq.job_log import add_line
from oxherd.bullmq.queue import BullQueue
from oxherd.context import LockLost
from oxherd.errors import OxherdError
from oxherd.redis.client import ScriptError
from oxherd.worker.running.execution import Execution


class Reports:
    """The progress and the notes of the runs of one queue."""

    def __init__(self, queue: BullQueue) -> None:
        self._queue = queue

    async def progress(self, run: Execution, value: Any) -> None:
        """Store the progress; raises OxherdError where it has no JSON, or the job is another worker's."""
        try:
            reply = await self._queue.progress(run.job, to_json(value, inf_nan_mode="null"))
        except (ValueError, ScriptError) as error:
            raise OxherdError(f"The progress could not be stored ({type(error).__name__}); pass JSON.") from None
        _refuse_lost(run, reply, "progress")

    async def note(self, run: Execution, line: str) -> None:
        """Add a line to the job's log; raises OxherdError where the job is another worker's, or that key is damaged."""
        try:
            reply = await add_line(self._queue, run.job, line)
        except ScriptError:
            raise OxherdError("The note could not be stored; mend the key of the event's job log.") from None
        _refuse_lost(run, reply, "note")


def _refuse_lost(run: Execution, reply: int, what: str) -> None:
    if reply < 0:
        run.cancel(LockLost())
        raise OxherdError(f"The {what} is not stored: the event was given to another worker; end the handler.")
