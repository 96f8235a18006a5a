"""Drops events that expired before they began, and notes that the others begin."""

from __future__ import annotations

import asyncio

from oxherd.bullmq.expiry import late_ms, mark_ran
from oxherd.bullmq.replies import Fetched
from oxherd.declaration import Declaration
from oxherd.errors import RedisUnavailable
from oxherd.redis.client import ScriptError
from oxherd.signals import EventExpired
from oxherd.worker.fetching.slots import QueueSlots
from oxherd.worker.running.execution import Execution
from oxherd.worker.running.outcome import Write
from oxherd.worker.running.settling import Reply, Settler, Unsettled
from oxherd.worker.served_queue import ServedQueue


class Expiry:
    """One queue's events that expire."""

    def __init__(self, served: ServedQueue, settler: Settler, slots: QueueSlots) -> None:
        self._queue = served.queue
        self._signals = served.signals
        self._faults = served.faults
        self._settler = settler
        self._slots = slots

    async def drop_late(self, execution: Execution, declaration: Declaration) -> Fetched | Unsettled | None:
        """Drop an event that has expired and never began; None if it may begin."""
        late = late_ms(execution.job)
        return await self.drop(execution, declaration, late) if late else None

    async def drop(self, execution: Execution, declaration: Declaration, late: int) -> Fetched | Unsettled:
        """Drop an event that is `late` milliseconds too late to begin."""
        job = execution.job
        fetch_next = self._slots.may_continue()
        settled = await self._settler.settle(job, declaration, Write.DROP, fetch_next=fetch_next)
        if isinstance(settled, Unsettled):
            execution.unwritten = settled is Unsettled.UNWRITTEN
            return settled
        lineage = job.lineage
        self._signals.emit(EventExpired(declaration.name, execution.event_id, late, lineage.caused_by, lineage.root))
        return settled

    async def begin(self, execution: Execution, declaration: Declaration) -> Fetched | Unsettled | None:
        """Note in an event's job that it begins; None once that is stored, else what became of the event.

        Redis has to confirm it: were the handler to begin without, and its worker to die, the event would be dropped by
        the next. During an outage the event is put back instead, and does not begin.
        """
        if execution.job.has_begun:
            return None
        if not await self._marked(execution):
            return await self._put_back(execution)
        return await self.drop_late(execution, declaration)

    async def _marked(self, execution: Execution) -> bool:
        marking = asyncio.ensure_future(mark_ran(self._queue, execution.job))
        try:
            if not await execution.admission.wait(marking):
                return False
            return marking.result() and not execution.admission.refused
        except RedisUnavailable:  # reported as an outage
            return False
        except ScriptError as error:
            self._faults.lasting("fetch", error, execution.job)
            return True
        finally:
            marking.cancel()

    async def _put_back(self, execution: Execution) -> Fetched | Unsettled:
        """Put back an event that has not begun, although the note may have been stored."""
        job, queue = execution.job, self._queue

        async def step(_: bool) -> Reply:
            await mark_ran(queue, job, ran=False)
            return await queue.requeue(job.id, job.token, job.limit_key)

        execution.admission.release()
        settled = await self._settler.retry_until_confirmed(job, step, leaves_running=True)
        execution.unwritten = settled is Unsettled.UNWRITTEN
        return settled
