"""Tells running events that they were cancelled, from whatever process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from oxherd.bullmq.cancellation import cancel_requests
from oxherd.context import Cancelled
from oxherd.errors import RedisUnavailable
from oxherd.redis.client import ScriptError
from oxherd.worker.background_loop import BackgroundLoop
from oxherd.worker.running.execution import Execution
from oxherd.worker.served_queue import ServedQueue

# A running event hears of it within a second.
_LOOK_SECONDS = 0.5


class CancelWatcher(BackgroundLoop):
    """Looks for requests to cancel one queue's jobs, while any of them runs here (`busy`). Script: cancel_requests."""

    def __init__(self, served: ServedQueue, busy: asyncio.Event, executions: Iterable[Execution]) -> None:
        super().__init__(f"oxherd-cancel-{served.queue.keys.queue}")
        self._queue = served.queue
        self._faults = served.faults
        self._busy = busy
        self._executions = executions

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self._busy.wait()
            await asyncio.sleep(_LOOK_SECONDS)
            if self._busy.is_set():
                await self._look()

    async def _look(self) -> None:
        try:
            requests = await cancel_requests(self._queue)
        except RedisUnavailable:  # reported as an outage; the requests stay
            return
        except ScriptError as error:
            self._faults.lasting("fetch", error)
            return
        for execution in list(self._executions) if requests else ():
            reason = requests.get(execution.job.raw_id)
            if reason is not None:
                execution.call_off(Cancelled(reason))
