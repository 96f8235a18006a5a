"""What a herd has in one event loop: connections and a worker, which end with the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any, TypeVar

from oxherd.context import absorb_cancellation
from oxherd.producer.backend import Backend
from oxherd.resources.lifespan import OpenLifespans
from oxherd.signals import Signals, WorkerStopped
from oxherd.worker.stop_report import StopReport
from oxherd.worker.worker import Worker

T = TypeVar("T")


class LoopSession:
    """A herd's backend and worker in the running loop; `on_end` is called when the loop ends without a stop.

    Attributes:
        entered: how many `async with` blocks keep the connections open.
        started_apart: whether processing began outside any such block, whose end then does not stop it.
        ends: whether the loop ends; the session then closes itself.
    """

    def __init__(
        self,
        backend: Backend,
        worker: Worker,
        lifespans: OpenLifespans,
        signals: Signals,
        on_end: Callable[[], Awaitable[None]],
    ) -> None:
        self.backend = backend
        self.worker = worker
        self.lifespans = lifespans
        self.entered = 0
        self.started_apart = False
        self._signals = signals
        self._on_end = on_end
        self.ends = False
        self._stops: dict[asyncio.Task[StopReport | None], asyncio.Event] = {}
        self._guard = LoopGuard(self._interrupt, self._end)

    async def stop(self, names: list[str] | None, time_over: asyncio.Event) -> StopReport | None:
        """Stop the named events, or all (None), as `Worker.stop`. If cancelled, it is as if time were over."""
        if self.ends:
            time_over.set()
        stopping = asyncio.create_task(self._stop(names, time_over), name="oxherd-stop")
        self._stops[stopping] = time_over
        stopping.add_done_callback(self._stops.pop)
        return await finish(stopping, on_cancel=time_over.set)

    async def close(self) -> None:
        """Close the connections, after the stops that are under way."""
        await self._wait_for_stops()
        await self.lifespans.close()
        await self.backend.close()
        self._guard.close()

    def forget(self) -> None:
        """The loop was closed with all its tasks: hold on to none of them."""
        self.worker.forget()
        self._guard.forget()

    async def _stop(self, names: list[str] | None, time_over: asyncio.Event) -> StopReport | None:
        if names is None:
            names, report = self.worker.events, await self.worker.stop_all(time_over)
        else:
            report = await self.worker.stop(names, time_over)
        if self.worker.idle:
            await self.lifespans.close()
        self._stopped(names, report)
        return report

    def _stopped(self, names: list[str], report: StopReport | None) -> None:
        if report is not None:
            self._signals.emit(WorkerStopped(names, report.texts, report.unresolved))

    def _interrupt(self) -> None:
        self.ends = True
        self.worker.interrupt()

    async def _end(self) -> None:
        # A stop that has begun since, or in a task that was not cancelled, goes on; what was cut off is done again.
        for time_over in self._stops.values():
            time_over.set()
        await self._wait_for_stops()
        self._stopped(*await self.worker.end())
        await self.close()
        await self._on_end()

    async def _wait_for_stops(self) -> None:
        if self._stops:
            await asyncio.wait(list(self._stops))


class LoopGuard:
    """Notices that the loop ends: whoever ends one (`asyncio.run` does) first cancels every task in it.

    `on_cancel` is called at that very moment, before any of the tasks can tell; what `on_end` returns is awaited.
    """

    def __init__(self, on_cancel: Callable[[], None], on_end: Callable[[], Awaitable[None]]) -> None:
        self._cancelled = _Sentinel(on_cancel)
        self._on_end = on_end
        # Not in the context of the event that happens to need it first.
        task = asyncio.get_running_loop().create_task(self._watch(), name="oxherd-loop-guard", context=Context())
        # A loop keeps no task alive that only waits.
        _guards[self] = task
        task.add_done_callback(lambda _: self.forget())

    def close(self) -> None:
        """Watch no more."""
        if not self._cancelled.done():
            self._cancelled.set_result(None)

    def forget(self) -> None:
        """Its loop is closed, or the guard has ended."""
        _guards.pop(self, None)

    async def _watch(self) -> None:
        try:
            await self._cancelled
        except asyncio.CancelledError:
            absorb_cancellation()
            await self._on_end()


class _Sentinel(asyncio.Future[None]):
    """Calls back when the task that awaits it is being cancelled."""

    def __init__(self, on_cancel: Callable[[], None]) -> None:
        super().__init__()
        self._on_cancel = on_cancel

    def cancel(self, msg: Any | None = None) -> bool:
        if not self.done():
            self._on_cancel()
        return super().cancel(msg)


_guards: dict[LoopGuard, asyncio.Task[None]] = {}


async def finish(task: asyncio.Task[T], on_cancel: Callable[[], None] = lambda: None) -> T:
    """Wait for a task that is not cancelled with its caller; cancelled twice, the caller leaves it to itself."""
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        on_cancel()
        if not task.done():
            await asyncio.wait([task])
        raise
