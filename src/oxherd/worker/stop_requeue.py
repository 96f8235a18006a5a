"""Ends the executions that outlast a stop's timeout."""

from __future__ import annotations

import asyncio
import time

from oxherd.bullmq.queue import BullQueue
from oxherd.context import Stopping
from oxherd.worker.executions import Executions
from oxherd.worker.running.execution import Execution, Stage
from oxherd.worker.running.outcome import Outcome, Write
from oxherd.worker.running.run_record import runs_with
from oxherd.worker.running.settling import Unsettled

# How long a cancelled handler may clean up before it counts as stuck.
CLEAN_UP_SECONDS = 0.5
_SETTLE_SECONDS = 0.1


class StopRequeue:
    """Cancels handlers, and puts the events back whose handlers cannot be ended."""

    def __init__(self, queue: BullQueue, executions: Executions) -> None:
        self._outages = queue.client.outages
        self._executions = executions
        self._settler = executions.settler

    async def requeue(self, held: list[Execution]) -> None:
        """Cancel what still runs, and put back what does not end."""
        for execution in held:
            if not execution.told_to_stop:
                execution.cancel(Stopping())
        await self._clean_up(held)
        stuck = [execution for execution in held if execution.stage is Stage.HANDLER]
        await asyncio.gather(*(self._abandon(execution) for execution in stuck))

    async def put_back_cut_off(self, held: list[Execution]) -> None:
        """Put the events back whose tasks were cancelled, with the whole loop, before their handlers began."""
        cut_off = [execution for execution in held if execution.outcome is None and execution.task.cancelled()]
        await asyncio.gather(*(self._put_back(execution) for execution in cut_off))

    async def give_up(self, held: list[Execution]) -> None:
        """Leave unwritten the outcomes that Redis does not confirm: the locks run out."""
        rest = [each for each in held if each.stage is not Stage.ABANDONED and not each.task.done()]
        if not rest:
            return
        self._settler.give_up.set()
        await _wait(rest, _SETTLE_SECONDS)
        for execution in rest:
            execution.task.cancel()  # in the middle of a call that gets no answer
        await _wait(rest, CLEAN_UP_SECONDS)

    async def _clean_up(self, held: list[Execution]) -> None:
        """Wait for what was cancelled; during an outage for the handlers alone."""
        until = time.monotonic() + CLEAN_UP_SECONDS
        while (left := until - time.monotonic()) > 0:
            away = self._outages.open
            tasks = [each.task for each in held if not each.task.done() and not (away and each.stage is Stage.SETTLING)]
            if not tasks:
                return
            await asyncio.wait(tasks, timeout=min(left, _SETTLE_SECONDS))

    async def _abandon(self, execution: Execution) -> None:
        """Put an event back whose handler goes on: nothing of this run is recorded any more."""
        run = execution.abandon()
        self._executions.drop(execution)
        became = await self._put_back(execution, runs_with(execution.job, run, Outcome.REQUEUED, None))
        self._executions.pipeline.announce_end(execution, run, became, None)

    async def _put_back(self, execution: Execution, runs: str = "") -> Outcome:
        try:
            async with asyncio.timeout(CLEAN_UP_SECONDS):
                settled = await self._settler.settle(execution.job, execution.declaration, Write.REQUEUE, runs=runs)
        except TimeoutError:
            settled = Unsettled.UNWRITTEN
        execution.unwritten = settled is Unsettled.UNWRITTEN
        return Outcome.LOST if isinstance(settled, Unsettled) else Outcome.REQUEUED


async def _wait(held: list[Execution], seconds: float) -> None:
    tasks = [execution.task for execution in held if not execution.task.done()]
    if tasks:
        await asyncio.wait(tasks, timeout=seconds)
