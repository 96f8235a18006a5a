"""Restarts the fetching of a queue whose events wait though slots are free, and reports it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from oxherd.bullmq.inspection import has_due
from oxherd.errors import RedisUnavailable
from oxherd.redis.client import ScriptError
from oxherd.signals import ErrorInfo
from oxherd.worker.background_loop import BackgroundLoop
from oxherd.worker.fetching.fetcher import Fetcher
from oxherd.worker.running.execution import Execution, Stage
from oxherd.worker.served_queue import ServedQueue
from oxherd.worker.upkeep.lock_renewer import LockRenewer

# A look this late means that the loop was held up, which explains a lack of progress.
_LATE_SECONDS = 1.0


class NoProgress(Exception):
    """Events wait, and none begins."""


@dataclass(frozen=True, slots=True)
class WatchdogTimes:
    """When the watchdog looks, and what it takes for a fault, in seconds.

    An idle worker fetches every 5 s, and a silent connection is noticed within 8 s: `stuck` has to be longer.
    """

    look: float = 5.0
    stuck: float = 15.0
    hanging: float = 60.0


@dataclass(slots=True)
class WatchedQueue:
    """A queue's parts that are watched; `holding` returns its executions that hold a slot.

    `restarted_at` is when the fetching was restarted for want of progress; None while all is well. Monotonic seconds.
    """

    served: ServedQueue
    fetcher: Fetcher
    renewer: LockRenewer
    holding: Callable[[], list[Execution]]
    replies_seen: int = 0
    replied_at: float = field(default_factory=time.monotonic)
    restarted_at: float | None = None

    @property
    def away(self) -> bool:
        """Whether its server has an outage."""
        return self.served.queue.client.has_outage(self.served.queue.keys.slot)


class Watchdog(BackgroundLoop):
    """Watches the queues of one group, which together have `capacity` slots."""

    def __init__(self, queue: str, capacity: Callable[[], int], times: WatchdogTimes) -> None:
        super().__init__(f"oxherd-watchdog-{queue}")
        self._capacity = capacity
        self._times = times
        self._queues: list[WatchedQueue] = []
        self.hanging = False
        self._hanging_reported = False

    def watch(self, queue: WatchedQueue) -> None:
        """Watch one more queue."""
        self._queues.append(queue)

    @property
    def stuck_seconds(self) -> float | None:
        """How long ago a fetching was restarted that has fetched nothing since; None without one. From any thread."""
        now = time.monotonic()
        return max(
            (
                now - restarted_at
                for queue in list(self._queues)
                if (restarted_at := queue.restarted_at) is not None and queue.fetcher.replies_seen == queue.replies_seen
            ),
            default=None,
        )

    async def run(self) -> None:
        """Look until cancelled."""
        looked = time.monotonic()
        while True:
            await asyncio.sleep(self._times.look)
            now = time.monotonic()
            late, looked = now - looked > self._times.look + _LATE_SECONDS, now
            queues = list(self._queues)
            holding = [execution for queue in queues for execution in queue.holding()]
            has_room = len(holding) < self._capacity()
            await asyncio.gather(*(self._look(queue, now, expected=has_room and not late) for queue in queues))
            await self._look_for_hanging(holding, has_room=has_room)

    async def _look(self, queue: WatchedQueue, now: float, *, expected: bool) -> None:
        """Look at one queue; `expected`: there were slots to fetch for."""
        fetcher, faults = queue.fetcher, queue.served.faults
        try:
            if error := queue.renewer.crash:
                message = "the loop that renews the locks had ended; it was restarted"
                faults.of_queue("lock", ErrorInfo(error, message))
                queue.renewer.start()
            if error := fetcher.crash:
                await self._restart(queue, f"the fetch loop had ended ({error}); it is restarted")
            elif fetcher.replies_seen != queue.replies_seen or not expected or queue.away:
                queue.replies_seen, queue.replied_at, queue.restarted_at = fetcher.replies_seen, now, None
            elif now - queue.replied_at < self._times.stuck:
                return
            elif not await has_due(queue.served.queue):
                queue.restarted_at = None
            else:
                message = (
                    f"events wait, slots are free, and nothing was fetched for {self._times.stuck:.0f} s; "
                    "the fetching is restarted on new connections"
                )
                await self._restart(queue, message)
        except (RedisUnavailable, ScriptError):  # an outage, or a damaged key, which the fetcher reports
            queue.replied_at, queue.restarted_at = now, None
        except Exception as error:  # noqa: BLE001 - nothing may end the loop that restarts the others
            faults.lasting("fetch", error)

    async def _restart(self, queue: WatchedQueue, message: str) -> None:
        queue.served.faults.lasting("fetch", NoProgress(message))
        first = queue.restarted_at is None
        if first:
            queue.restarted_at = time.monotonic()
        replies_seen = queue.fetcher.replies_seen
        # If new connections did not help the first time, more of them would only disturb the node's other queues.
        await queue.fetcher.restart(lambda: len(queue.holding()), reconnect=first)
        queue.replies_seen, queue.replied_at = replies_seen, time.monotonic()

    async def _look_for_hanging(self, holding: list[Execution], *, has_room: bool) -> None:
        """Report once, until there is room again, that handlers that do not end hold every slot."""
        queue = await self._with_due() if holding and not has_room and all(map(self._hangs, holding)) else None
        self.hanging = queue is not None
        if queue is not None and not self._hanging_reported:
            message = (
                f"events wait, and all {len(holding)} slots are held by handlers that have run for more than "
                f"{self._times.hanging:.0f} s; give the event a timeout"
            )
            queue.served.faults.of_queue("fetch", ErrorInfo(NoProgress.__name__, message))
        self._hanging_reported = not has_room and (self._hanging_reported or self.hanging)

    async def _with_due(self) -> WatchedQueue | None:
        for queue in list(self._queues):
            with suppress(RedisUnavailable, ScriptError):  # the fetcher reports it
                if await has_due(queue.served.queue):
                    return queue
        return None

    def _hangs(self, execution: Execution) -> bool:
        declaration, run = execution.declaration, execution.run
        return (
            execution.stage is Stage.HANDLER
            and run is not None
            and time.perf_counter() - run.began_at > self._times.hanging
            and declaration is not None
            and declaration.timeout is None
        )
