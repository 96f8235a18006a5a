"""Drops ticks that came due while no worker ran, where their schedule says so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from oxherd.bullmq.clock import now_ms
from oxherd.bullmq.schedule_declarations import was_missed
from oxherd.bullmq.schedule_ticks import tick_ms
from oxherd.redis.client import ScriptError
from oxherd.redis.retry import retry
from oxherd.schedule.declared import MISSED
from oxherd.worker.running.execution import Execution
from oxherd.worker.served_queue import ServedQueue


class MissedTicks:
    """One queue's ticks whose schedules make up for none."""

    def __init__(self, served: ServedQueue, pause: Callable[[float], Awaitable[bool]]) -> None:
        self._queue = served.queue
        self._pause = pause
        self._since_ms = now_ms()

    async def late_ms(self, execution: Execution) -> int:
        """For how many milliseconds a tick has been due that is to be dropped; 0 for one that may begin.

        Raises:
            RedisUnavailable: the worker gives up before Redis has said.
        """
        job, tick = execution.job, tick_ms(execution.job)
        if job.options.get(MISSED) != "none" or tick is None or tick >= self._since_ms or job.fence > 1:
            return 0
        client, keys = self._queue.client, self._queue.keys
        try:
            missed = await retry(lambda: was_missed(client, keys, job.name, tick), pause=self._pause)
        except ScriptError:  # the key is damaged: the schedule keeper says so
            return 0
        return max(1, now_ms() - tick) if missed else 0
