"""Sees to it that a worker goes on: where events wait and none is fetched, it says so and begins the fetching anew."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from oxherd.errors import RedisUnavailable
from oxherd.redis.client import ScriptError
from oxherd.signals import ErrorInfo
from oxherd.worker.running.execution import Execution, Stage

if TYPE_CHECKING:
    from oxherd.worker.queue_worker import QueueWorker

_LOOK_SECONDS = 5.0
# An idle worker asks every 5 s, and a connection that got silent is found within 8 s: what takes longer is a fault.
STUCK_SECONDS = 15.0
HANGING_SECONDS = 60.0
# A look that comes later than that says that this loop was held up: what it finds is no wonder.
_LATE_SECONDS = 1.0


class NoProgress(Exception):
    """Events wait, and none is begun."""


class _Watched:
    """One queue's worker, and since when it does not go on (seconds, monotonic; None: it does)."""

    def __init__(self, worker: QueueWorker, now: float) -> None:
        self.worker = worker
        self.replies_seen = worker.replies_seen
        self.replied_at = now
        self.anew_since: float | None = None


class Watchdog:
    """Watches the workers of one group, `capacity` places together."""

    def __init__(self, workers: Callable[[], Iterable[QueueWorker]], capacity: Callable[[], int]) -> None:
        self._workers = workers
        self._capacity = capacity
        self._watched: dict[QueueWorker, _Watched] = {}
        self.hanging = False
        self._said_hanging = False

    @property
    def stuck_seconds(self) -> float | None:
        """For how long nothing was fetched since the fetching was begun anew; None where all is well."""
        since = [
            each.anew_since for each in list(self._watched.values()) if each.worker.replies_seen == each.replies_seen
        ]
        return max((time.monotonic() - at for at in since if at is not None), default=None)

    async def run(self) -> None:
        """Look until cancelled."""
        looked = time.monotonic()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = time.monotonic()
            late, looked = now - looked > _LOOK_SECONDS + _LATE_SECONDS, now
            self._watched = {worker: self._watched.get(worker) or _Watched(worker, now) for worker in self._workers()}
            holding = [running for worker in self._watched for running in worker.holding]
            room = len(holding) < self._capacity()
            watched = list(self._watched.values())
            await asyncio.gather(*(self._look(each, now, expected=room and not late) for each in watched))
            await self._look_for_hanging(holding, room=room)

    async def _look(self, watched: _Watched, now: float, *, expected: bool) -> None:
        """Look at one queue; `expected` says whether it could have been asked."""
        worker = watched.worker
        try:
            worker.ensure_renewer()
            fetch_crash = worker.fetch_crash()
            if fetch_crash is not None:
                await self._begin_anew(
                    watched, f"the loop that begins events had ended ({fetch_crash}); it is begun anew"
                )
                return
            if worker.replies_seen != watched.replies_seen or not expected or worker.progress_not_expected:
                watched.replies_seen, watched.replied_at, watched.anew_since = worker.replies_seen, now, None
            elif now - watched.replied_at < STUCK_SECONDS:
                return
            elif not await worker.has_due():
                watched.anew_since = None
            else:
                message = (
                    f"events wait, places are free, and nothing was fetched for {STUCK_SECONDS:.0f} s; "
                    "the fetching is begun anew, on new connections"
                )
                await self._begin_anew(watched, message)
        except (RedisUnavailable, ScriptError):  # an outage, or a damaged key, which is reported by whoever fetches
            watched.replied_at, watched.anew_since = now, None
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not end the last one that looks
            worker.faults.lasting("fetch", error)

    async def _begin_anew(self, watched: _Watched, message: str) -> None:
        watched.worker.faults.lasting("fetch", NoProgress(message))
        first = watched.anew_since is None
        if first:
            watched.anew_since = time.monotonic()
        # Where the first new connections did not help, further ones would only disturb the other queues of the node.
        before = watched.worker.replies_seen
        await watched.worker.restart_fetching(reconnect=first)
        watched.replies_seen, watched.replied_at = before, time.monotonic()

    async def _look_for_hanging(self, holding: list[Execution], *, room: bool) -> None:
        """Say once, until there is room again, that every place is taken by a handler that does not end."""
        worker = await self._with_due() if holding and not room and all(map(_hangs, holding)) else None
        self.hanging = worker is not None
        if worker is not None and not self._said_hanging:
            message = (
                f"events wait, and all {len(holding)} places are taken by handlers that have run for more than "
                f"{HANGING_SECONDS:.0f} s; give the event a timeout"
            )
            worker.faults.of_job("fetch", ErrorInfo(NoProgress.__name__, message), None)
        self._said_hanging = not room and (self._said_hanging or self.hanging)

    async def _with_due(self) -> QueueWorker | None:
        """One of the workers on whose queue events wait."""
        for worker in list(self._watched):
            with suppress(RedisUnavailable, ScriptError):  # reported by whoever fetches
                if await worker.has_due():
                    return worker
        return None


def _hangs(running: Execution) -> bool:
    declaration, run = running.declaration, running.run
    return (
        running.stage is Stage.HANDLER
        and run is not None
        and time.perf_counter() - run.began_at > HANGING_SECONDS
        and declaration is not None
        and declaration.timeout is None
    )
