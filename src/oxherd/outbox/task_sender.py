"""Sends in an event loop what is committed there, and sweeps there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from uuid import UUID
from weakref import WeakKeyDictionary

from oxherd.context import running_loop
from oxherd.outbox.agenda import Agenda
from oxherd.outbox.courier import Courier
from oxherd.outbox.rows import AsyncStore, Given, Page, Selection
from oxherd.outbox.thread_sender import CLOSE_SECONDS, FLUSH_SECONDS


class TaskSender:
    """One event loop's; its task lives while there is something to do, so that nothing keeps the loop from ending."""

    def __init__(self, store: AsyncStore, courier: Courier, grace: float) -> None:
        self._store = store
        self._courier = courier
        self._agenda = Agenda(courier.events, grace)
        self._changed = asyncio.Event()
        self._rested = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def offer(self, rows: Iterable[tuple[UUID, str]], looks: int = 0) -> None:
        """Send these events soon."""
        self._agenda.offer(rows, time.monotonic(), looks)
        self._rested.clear()
        self._wake()

    def begin_sweeps(self) -> None:
        """Sweep from now on."""
        self._agenda.begin_sweeps()
        self._wake()

    def end_sweeps(self) -> None:
        """Sweep no more."""
        self._agenda.end_sweeps()

    async def flush(self, timeout: float) -> bool:
        """Wait until all that was offered is sent, or left to a sweep; whether it was."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not self._agenda.empty:
                    await self._rested.wait()
        return self._agenda.empty

    async def close(self) -> None:
        """End the task, after half a second for what was just committed, and the batch that it sends."""
        await self.flush(FLUSH_SECONDS)
        self._closed = True
        self._changed.set()
        if (task := self._task) is not None:
            await asyncio.wait([task], timeout=CLOSE_SECONDS)
            task.cancel()
            await asyncio.wait([task])

    def _wake(self) -> None:
        self._changed.set()
        if self._task is None and not self._closed:
            # Not in the context of the request or the event that was the first to emit.
            loop = asyncio.get_running_loop()
            self._task = loop.create_task(self._run(), name="oxherd-outbox", context=Context())

    async def _run(self) -> None:
        try:
            while (found := self._next()) is not None:
                if isinstance(found, Given | Page):
                    await self._deliver(found)
                else:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(found):
                            await self._changed.wait()
        finally:
            self._task = None  # at once: an offer that comes now has to start another

    def _next(self) -> Selection | float | None:
        self._changed.clear()
        return None if self._closed else self._agenda.next(time.monotonic())

    async def _deliver(self, selection: Selection) -> None:
        try:
            delivered = await self._store.deliver(selection, self._courier.send)
            self._courier.noted(delivered)
        except Exception as error:  # noqa: BLE001 - reported; the rows are kept, and tried again
            self._courier.crashed(error)
            self._agenda.failed(time.monotonic())
        else:
            self._agenda.done(selection, delivered, time.monotonic())
        if self._agenda.empty:
            self._rested.set()


class TaskSenders:
    """A TaskSender for each event loop."""

    def __init__(self, store: AsyncStore, courier: Courier, grace: float) -> None:
        self._store = store
        self._courier = courier
        self._grace = grace
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, TaskSender] = WeakKeyDictionary()

    def offer(self, rows: Iterable[tuple[UUID, str]], looks: int = 0) -> None:
        """As `TaskSender.offer`; in a thread without an event loop it is left to the sweeps."""
        if running_loop() is not None:
            self._sender().offer(rows, looks)

    async def flush(self, timeout: float) -> bool:
        """As `TaskSender.flush`, for the running loop."""
        sender = self._by_loop.get(asyncio.get_running_loop())
        return sender is None or await sender.flush(timeout)

    async def close(self) -> None:
        """End the running loop's task; the next offer starts another."""
        if (sender := self._by_loop.pop(asyncio.get_running_loop(), None)) is not None:
            await sender.close()

    @asynccontextmanager
    async def sweep(self) -> AsyncGenerator[None]:
        """Sweep while a worker's lifespan is open."""
        sender = self._sender()
        sender.begin_sweeps()
        try:
            yield
        finally:
            sender.end_sweeps()
            await self.close()

    def _sender(self) -> TaskSender:
        loop = asyncio.get_running_loop()
        sender = self._by_loop.get(loop)
        if sender is None:
            sender = self._by_loop[loop] = TaskSender(self._store, self._courier, self._grace)
        return sender
