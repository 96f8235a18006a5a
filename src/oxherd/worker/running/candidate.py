"""An execution, as isolation sees it."""

from __future__ import annotations

import asyncio

from oxherd.bullmq.queue import BullQueue
from oxherd.errors import RedisUnavailable
from oxherd.redis.client import ScriptError
from oxherd.worker.fault_reporter import FaultReporter
from oxherd.worker.fetching.isolation import Mark
from oxherd.worker.running.execution import Execution

# An outage of one server must not keep events of others from beginning.
_MARK_SECONDS = 0.5


class Candidate:
    """What isolation asks of an execution that may have to begin alone."""

    def __init__(self, execution: Execution, queue: BullQueue, faults: FaultReporter) -> None:
        self._admission = execution.admission
        self._job = execution.job
        self._queue = queue
        self._faults = faults
        self.uncounted = execution.job.uncounted_stalls
        self.wait = execution.admission.wait

    async def mark(self, mark: Mark | None) -> bool:
        """Note in the job how it begins; False if it must not. An outage keeps nobody waiting for longer."""
        try:
            async with asyncio.timeout(_MARK_SECONDS):
                if not await self._queue.mark_begin(self._job, None if mark is None else mark.value):
                    self._admission.refuse()
        except ScriptError as error:
            self._faults.lasting("stalled", error, self._job)
        except (RedisUnavailable, TimeoutError):  # an outage is reported as one, and a slow server holds nobody up
            pass
        return not self._admission.refused
