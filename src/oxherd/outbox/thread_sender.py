"""Sends from a thread of its own what code without an event loop commits, and sweeps there."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from contextvars import Context
from uuid import UUID

from oxherd.outbox.agenda import Agenda
from oxherd.outbox.courier import Courier
from oxherd.outbox.rows import Delivered, Given, Page, Selection, Send, Store

# When a worker stops: for what its handlers have just committed, and for the batch that is being sent.
FLUSH_SECONDS = 0.5
CLOSE_SECONDS = 3.0


class ThreadSender:
    """One process's; its daemon thread starts on first use, and ends with `close` or the process.

    The thread's event loop runs only while it sends, so the database may block it meanwhile.
    """

    def __init__(self, store: Store, courier: Courier, grace: float) -> None:
        self._store = store
        self._courier = courier
        self._agenda = Agenda(courier.events, grace)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._busy = False
        self._closed = False

    def offer(self, rows: Iterable[tuple[UUID, str]], looks: int = 0) -> None:
        """Send these events soon; does not wait."""
        with self._changed:
            self._agenda.offer(rows, time.monotonic(), looks)
            self._wake()

    def begin_sweeps(self) -> None:
        """Sweep from now on."""
        with self._changed:
            self._agenda.begin_sweeps()
            self._wake()

    def end_sweeps(self) -> bool:
        """Sweep no more, unless others still want it; returns whether it ends."""
        with self._changed:
            self._agenda.end_sweeps()
            return not self._agenda.sweeps

    def flush(self, timeout: float) -> bool:
        """Wait until all that was offered is sent, or left to a sweep; whether it was."""
        with self._changed:
            return self._changed.wait_for(lambda: self._agenda.empty and not self._busy, timeout)

    def close(self, timeout: float) -> None:
        """End the thread, after the batch that it sends."""
        with self._changed:
            thread, self._closed = self._thread, True
            self._changed.notify_all()
        if thread is not None:
            thread.join(timeout)

    def _wake(self) -> None:
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._run, name="oxherd-outbox", daemon=True)
            # The first emit may be a handler's: the thread must not inherit that event's context.
            Context().run(self._thread.start)
        self._changed.notify_all()

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            while (selection := self._next()) is not None:
                self._deliver(selection, lambda rows: runner.run(self._courier.send(rows)))

    def _next(self) -> Selection | None:
        """Wait for the next selection; None once it is closed."""
        with self._changed:
            while not self._closed:
                found = self._agenda.next(time.monotonic())
                if isinstance(found, Given | Page):
                    self._busy = True
                    return found
                self._changed.wait(found)
            return None

    def _deliver(self, selection: Selection, send: Send) -> None:
        delivered: Delivered | None = None
        try:
            delivered = self._store.deliver(selection, send)
            self._courier.noted(delivered)
        except Exception as error:  # noqa: BLE001 - reported; the rows are kept, and tried again
            self._courier.crashed(error)
        with self._changed:
            now = time.monotonic()
            if delivered is None:
                self._agenda.failed(now)
            else:
                self._agenda.done(selection, delivered, now)
            self._busy = False
            self._changed.notify_all()


class ThreadSenders:
    """A ThreadSender for each process: a fork has none of its parent's threads."""

    def __init__(self, store: Store, courier: Courier, grace: float) -> None:
        self._store = store
        self._courier = courier
        self._grace = grace
        self._by_process: dict[int, ThreadSender] = {}

    def offer(self, rows: Iterable[tuple[UUID, str]], looks: int = 0) -> None:
        """As `ThreadSender.offer`."""
        self._sender().offer(rows, looks)

    async def flush(self, timeout: float) -> bool:
        """As `flush_sync`."""
        return await asyncio.to_thread(self.flush_sync, timeout)

    def flush_sync(self, timeout: float) -> bool:
        """As `ThreadSender.flush`."""
        sender = self._by_process.get(os.getpid())
        return sender is None or sender.flush(timeout)

    async def close(self) -> None:
        """As `close_sync`."""
        await asyncio.to_thread(self.close_sync)

    def close_sync(self) -> None:
        """End this process's thread; the next offer starts another."""
        if (sender := self._by_process.pop(os.getpid(), None)) is not None:
            sender.close(CLOSE_SECONDS)

    @asynccontextmanager
    async def sweep(self) -> AsyncGenerator[None]:
        """Sweep while a worker's lifespan is open; with the last, the thread ends, and with it its connections."""
        sender = self._sender()
        sender.begin_sweeps()
        try:
            yield
        finally:
            if sender.end_sweeps():
                await self.flush(FLUSH_SECONDS)
                await self.close()

    def _sender(self) -> ThreadSender:
        sender = self._by_process.get(os.getpid())
        if sender is None:
            new = ThreadSender(self._store, self._courier, self._grace)
            sender = self._by_process.setdefault(os.getpid(), new)
        return sender
