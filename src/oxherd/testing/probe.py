"""Runs an event once, on a herd and a key prefix of its own, and collects what can be observed of it."""

from __future__ import annotations

import asyncio
import secrets
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final
from uuid import uuid4

from oxherd.app import Oxherd
from oxherd.bullmq.job import NewJob
from oxherd.bullmq.keys import has_hash_tag
from oxherd.declaration import RunIn
from oxherd.event import Event
from oxherd.handler import Handler
from oxherd.policy import Keep, Retry
from oxherd.signals import EventBegan, EventEnded, QueueFault
from oxherd.testing.canaries import Planted
from oxherd.testing.instruments import Instruments
from oxherd.testing.observation import Observation
from oxherd.testing.storage import Storage

_KEEP_ALL: Final = Keep(completed=None, failed=None, failed_for=None)
_ONCE: Final = Retry(attempts=1)
_DEADLINE_SECONDS: Final = 30.0


class LeakProbe:
    """One scenario of an event whose payload has canaries, and its `observations`."""

    def __init__(self, event: Event[Any, Any], planted: Planted, url: str) -> None:
        self.original = event
        self.planted = planted
        self.observations: list[Observation] = []
        self._url = url
        # On a cluster a queue without a hash tag needs one in the prefix, where shards allow none.
        word = f"leaks-{secrets.token_hex(8)}"
        self._prefix = word if has_hash_tag(event.declaration.queue) else f"{{{word}}}"
        self._herds: list[Oxherd] = []

    def payload(self) -> Any:
        """A new copy of the payload, since a handler may change it."""
        return self.original.declaration.payload.decode(self.planted.raw)

    def event(
        self,
        handler: Callable[..., Any] | Handler | None = None,
        *,
        run_in: RunIn = "loop",
        sanitize: Callable[[Any], Any] | None = None,
        retry: Retry = _ONCE,
        timeout: float | None = None,
        url: str | None = None,
        **changes: Any,
    ) -> Event[Any, Any]:
        """A copy of the event on a new herd, with another handler or other options."""
        herd = Oxherd(url or self._url, prefix=self._prefix, emit_timeout=0.05 if url else 10)
        self._herds.append(herd)
        own = self.original.declaration
        options = {**retry.options, **_KEEP_ALL.options}
        declaration = replace(
            own, retry=retry, timeout=timeout, keep=_KEEP_ALL, durable=False, options=options, **changes
        )
        if handler is not None and not isinstance(handler, Handler):
            handler = Handler(handler, run_in, handler, own.payload.annotation)
        if handler is None:
            herd.resources.adopt(self.original.herd.resources)
        return self.original.copy(herd, declaration=declaration, handler=handler, sanitize=sanitize)

    async def process(
        self,
        event: Event[Any, Any],
        *,
        count: int = 1,
        data: list[bytes] | None = None,
        deadline: float | None = _DEADLINE_SECONDS,
        stopped: bool = False,
    ) -> None:
        """Emit the payload `count` times, or store `data` as it is, process all, and observe.

        `deadline` is in seconds; `stopped` stops processing when one has begun.
        """
        herd = event.herd
        instruments = Instruments(herd)
        counter = _EventCounter(event, (EventBegan,) if stopped else (EventEnded, QueueFault))
        async with herd:
            storage = Storage(await herd.backend(), event.declaration, self._prefix)
            try:
                await self._put(event, count, data)
                self.observations += await storage.read()
                await event.start()
                await counter.wait(count if data is None else len(data), deadline)
                self.observations.append(Observation("herd.health()", f"{herd.health()!r} {herd.nodes()!r}"))
                self.observations += await asyncio.to_thread(lambda: list(instruments.read()))
                await event.stop(0 if stopped else None)
                self.observations += await storage.read()
            finally:
                await event.stop(0)
                await storage.remove()

    async def observe_errors(self, event: Event[Any, Any], *calls: Callable[[], Awaitable[Any]]) -> None:
        """Observe the errors that these calls raise."""
        herd = event.herd
        instruments = Instruments(herd)
        try:
            for call in calls:
                try:
                    await call()
                except Exception as error:  # noqa: BLE001 - any error that the caller would get
                    sink = f"the {type(error).__name__} raised to the caller"
                    self.observations.append(Observation(sink, _error_text(error)))
            self.observations += await asyncio.to_thread(lambda: list(instruments.read()))
        finally:
            await herd.close()

    async def observe_storage(self, event: Event[Any, Any], call: Callable[[], Awaitable[Any]]) -> None:
        """Observe what a call stores in Redis."""
        async with event.herd as herd:
            storage = Storage(await herd.backend(), event.declaration, self._prefix)
            try:
                await call()
                self.observations += await storage.read()
            finally:
                await storage.remove()

    async def _put(self, event: Event[Any, Any], count: int, data: list[bytes] | None) -> None:
        if data is None:
            await event.emit_many([self.payload() for _ in range(count)])
            return
        loop = asyncio.get_running_loop()
        backend = await event.herd.backend()
        queue = backend.queue_named(backend.queue(event.declaration).keys.queue)
        for raw in data:
            job = NewJob(str(uuid4()), event.name, raw, event.declaration.options)
            await queue.add(job, deadline=loop.time() + _DEADLINE_SECONDS)


class _EventCounter:
    """Counts the events of which a signal of these kinds was sent."""

    def __init__(self, event: Event[Any, Any], kinds: tuple[type[Any], ...]) -> None:
        self._event = event
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._ids: set[str | None] = set()
        event.herd.signals.subscribe(self._add, *kinds)

    def _add(self, signal: EventBegan | EventEnded | QueueFault) -> None:
        retried = isinstance(signal, EventEnded) and signal.outcome == "retrying"
        other = isinstance(signal, QueueFault) and signal.source != "data"
        if not retried and not other:
            self._ids.add(signal.event_id)
            self._loop.call_soon_threadsafe(self._changed.set)

    async def wait(self, count: int, seconds: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while len(self._ids) < count:
                    self._changed.clear()
                    await self._changed.wait()
        if len(self._ids) < count:
            raise RuntimeError(f"{self._event.name}: its handler did not end within {seconds:g} seconds.")


def _error_text(error: BaseException) -> str:
    """All texts of an error: its own, those of its causes and contexts, and its traceback."""
    texts: list[str] = []
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        found = pending.pop()
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        texts.append(f"{found}\n{found!r}\n{found.args!r}\n{vars(found)!r}")
        pending += [found.__cause__, found.__context__]
    return "\n".join([*texts, *traceback.format_exception(error)])
