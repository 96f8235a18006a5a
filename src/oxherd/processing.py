"""What a herd processes: its events are started and stopped in the running event loop."""

from __future__ import annotations

import asyncio
import threading
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from oxherd.bullmq.inspection import Backlog
from oxherd.context import current, running_loop
from oxherd.errors import DeclarationError, UsageError
from oxherd.event import Event
from oxherd.handler import DeclaresHandlers, Handler
from oxherd.policy import Seconds, seconds
from oxherd.producer.delivery import Delivery
from oxherd.redis.outage import Outages
from oxherd.resources.declared import DeclaresResources
from oxherd.sessions import Sessions
from oxherd.signals import Signals, WorkerStarted
from oxherd.telemetry.logs.setup import set_up_missing_logging
from oxherd.worker.executors.executor import executor_for
from oxherd.worker.health import Health, judge, total
from oxherd.worker.served_events import ServedEvent
from oxherd.worker.stop_report import StopReport
from oxherd.worker.worker import time_limit


class Processing(DeclaresResources, DeclaresHandlers):
    """The part of a herd that starts and stops its events."""

    signals: Signals
    stop_timeout: float
    delivery: Delivery | None
    _sessions: Sessions
    _outages: Outages

    @abstractmethod
    def __getitem__(self, name: str) -> Event[Any, Any]: ...

    @abstractmethod
    def __iter__(self) -> Iterator[Event[Any, Any]]: ...

    @abstractmethod
    async def close(self) -> None: ...

    @property
    def processing(self) -> list[str]:
        """The names of the events that are processed here now."""
        session = self._sessions.current
        return [] if session is None else session.worker.events

    async def start(self) -> None:
        """Start processing every event that has a handler. Returns at once, even during an outage.

        Only a `worker_lifespan` is waited for.

        Raises:
            DeclarationError: no event has a handler.
            LifespanError: a `worker_lifespan` failed to open.
            ConfigError, ServerError: the URL or a Keyring's key cannot be used, or the embedded server cannot start.
        """
        without = [event.name for event in self if event.handler is None]
        await self.start_events([event.name for event in self if event.handler is not None], without)

    async def stop(self, timeout: Seconds | None = None) -> StopReport:
        """Stop every event: fetch no more, let what runs end, write the outcomes, close the connections.

        After `timeout` seconds (a number or a timedelta; None: the herd's `stop_timeout`) what still runs is cancelled
        and put back at the head of its queue, at no cost of an attempt. So are events whose handlers cannot be ended (a
        thread, or a coroutine that swallows its cancellation): such a handler runs on, beside the event's next run, but
        nothing of it is recorded.

        What was started in another event loop goes on there. A stop that is cancelled puts back at once what still
        runs; so does a loop that ends without a stop.

        Returns what became of the events that had begun, by their UUIDs.

        Raises:
            UsageError: called by a handler, which it would wait for.
        """
        self._refuse_in_handler("herd.stop()")
        with self._time_limit(timeout) as time_over:
            return await self.stop_when(time_over)

    def health(self) -> Health:
        """Return the worker's health: live, ready, and why not. No I/O; from any thread, even while the loop is
        blocked."""
        facts = [session.worker.facts for session in self._sessions.running]
        return judge(total(facts, self._outages.nodes()))

    @property
    def running(self) -> int:
        """How many events run, or have been fetched and are about to, in this event loop."""
        session = self._sessions.current
        return 0 if session is None else session.worker.running

    def nodes(self) -> dict[str, bool]:
        """Return each Redis node, named as in `redis.error`, and whether it serves us; from any thread."""
        return self._outages.states()

    async def backlogs(self) -> list[tuple[list[str], Backlog | None]]:
        """Return each processed queue's event names and backlog; None if Redis does not answer within a second.

        Redis, for each queue: script getCounts, commands LINDEX and HMGET.
        """
        session = self._sessions.current
        return [] if session is None else await session.worker.backlogs()

    def run(self) -> None:
        """Start every event, process until SIGTERM or SIGINT, and stop. Blocks, and owns the process.

        Logs to standard error as `oxherd worker` does, unless the application has set up logging.

        The first signal drains, the second ends the wait. Exits with status 1 if an event is stranded. If a handler
        cannot be ended, the process ends at once; a thread that was started meanwhile is not waited for at its end.

        Raises:
            UsageError: called by a handler, in an event loop, or not in the main thread.
        """
        from oxherd.worker.main import run

        self._refuse_in_handler("herd.run()")
        if running_loop() is not None:
            raise UsageError("herd.run() blocks, and owns its process; in an event loop, await herd.start() instead.")
        if threading.current_thread() is not threading.main_thread():
            raise UsageError("herd.run() handles the process's signals; call it in the main thread.")
        set_up_missing_logging()
        status = run(self, None, self.stop_timeout, wait_for=threading.enumerate())
        if status:
            raise SystemExit(status)

    async def start_events(self, names: Iterable[str], without_handler: Sequence[str] = ()) -> None:
        """Start processing the named events; the log says which have no handler."""
        events = [self[name] for name in dict.fromkeys(names)]
        for event in events:
            if event.handler is None:
                raise DeclarationError(f"{event.name}: it has no handler here; import the module that processes it.")
            event.declaration.payload.load_keys()
        if not events and without_handler:
            raise DeclarationError(f"No handler is imported here for {', '.join(without_handler)}; import its module.")
        if not events:
            raise DeclarationError("No event has a handler; decorate a function with @herd.event(...).")
        if self.delivery is not None and self._sessions.current is None:
            return  # a test's emits are kept: what waits on the server is not the test's
        session = await self._sessions.open()
        backend, worker = session.backend, session.worker
        for event in events:
            backend.queue(event.declaration)  # refuse before any of them starts
        # Handlers in processes of their own have lifespans there.
        if self.resources.middleware or any(event.handler and event.handler.run_in != "process" for event in events):
            await session.lifespans.open()
        new = [event for event in events if event.name not in worker]
        if not worker.events:
            session.started_apart = not session.entered
        worker.start(backend, [self._served(event, event.handler) for event in new if event.handler is not None])
        if new:
            started = [event.name for event in new]
            self.signals.emit(WorkerStarted(started, str(backend.client.url), list(without_handler)))

    def _served(self, event: Event[Any, Any], handler: Handler) -> ServedEvent:
        executor = executor_for(event.declaration, handler, self.resources)
        return ServedEvent(event.declaration, event.sanitizer(), executor)

    async def stop_events(self, names: list[str], timeout: Seconds | None) -> StopReport:
        """Stop the named events; the others go on."""
        self._refuse_in_handler("event.stop()", *names)
        with self._time_limit(timeout) as time_over:
            return await self._stop(names, time_over)

    async def stop_when(self, time_over: asyncio.Event) -> StopReport:
        """Stop every event; what still runs once `time_over` is set is put back on its queue."""
        return await self._stop(None, time_over)

    def _refuse_in_handler(self, call: str, *only: str) -> None:
        """Raise if a handler (of the named events) calls this, itself, or from its own tasks and threads."""
        context = current.get()
        if context is None or (only and context.event not in only):
            return
        # Without a session, this is a handler's own process, which has nothing to stop.
        sessions = self._sessions.all
        if not sessions or any(session.worker.runs(context) for session in sessions):
            raise UsageError(
                f"{call} inside the handler of {context.event} would wait for that handler; tell the code that started "
                "the herd to stop it (set an asyncio.Event that it waits for), and return."
            )

    def _time_limit(self, timeout: Seconds | None) -> AbstractContextManager[asyncio.Event]:
        return time_limit(self.stop_timeout if timeout is None else seconds(timeout, "timeout"))

    async def _stop(self, names: list[str] | None, time_over: asyncio.Event) -> StopReport:
        session = self._sessions.current
        try:
            return (session and await session.stop(names, time_over)) or StopReport()
        finally:
            if session is None or not (session.worker.events or session.entered):
                await self.close()
