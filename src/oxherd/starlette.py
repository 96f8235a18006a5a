"""Oxherd in a Starlette application: its lifespan, and routes that tell how an event is doing; needs `oxherd[sse]`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from inspect import isasyncgenfunction
from typing import Any, TypeVar
from uuid import UUID

from pydantic import BaseModel

from oxherd.answers.status import State, Status
from oxherd.app import Oxherd
from oxherd.emitted import Emitted
from oxherd.errors import (
    ConfigError,
    DeclarationError,
    EventCancelled,
    EventFailed,
    InvalidResult,
    RedisUnavailable,
    ResultGone,
)
from oxherd.event import Event
from oxherd.policy import boolean

try:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route
except ImportError:
    raise ConfigError("Starlette is not installed; install oxherd[sse].") from None

from oxherd.sse import NO_STORE, Authorize, permitted_id, refusal, stream, told_already

T = TypeVar("T")
Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]

STATUS_PATH = "/events/{id}"
STREAM_PATH = "/events/{id}/stream"
# Of so many ids it is remembered which events they are of, so that only those are asked again.
_MOST_REMEMBERED = 10_000


def lifespan(herd: Oxherd, *, worker: bool = False, then: Lifespan | None = None) -> Lifespan:
    """A lifespan for `Starlette(lifespan=...)` and `FastAPI(lifespan=...)`: opens and closes the herd's connections.

    Args:
        herd: the herd.
        worker: also process all events that have a handler, in the server's process; a stop has the herd's
            `stop_timeout`. For development: each process of the server is a worker of its own then.
        then: the application's own lifespan, which runs inside; what it yields is the application's state.

    Raises:
        DeclarationError: `herd` is no herd, or `then` is not made by @asynccontextmanager.
    """
    if not isinstance(herd, Oxherd):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DeclarationError("lifespan() takes a herd, as in FastAPI(lifespan=lifespan(herd)).")
    if then is not None and (not callable(then) or isasyncgenfunction(then)):
        raise DeclarationError("then= takes a lifespan of the application; decorate it with @asynccontextmanager.")
    is_worker = boolean(worker, "worker")

    @asynccontextmanager
    async def run(app: Any) -> AsyncGenerator[Any]:
        async with herd:
            if then is None:
                async with _processing(herd, is_worker):
                    yield
            else:
                async with then(app) as state, _processing(herd, is_worker):
                    yield state

    return run


@asynccontextmanager
async def _processing(herd: Oxherd, is_worker: bool) -> AsyncGenerator[None]:
    if not is_worker:
        yield
        return
    await herd.start()
    try:
        yield
    finally:
        await herd.stop()


class EventStatus(BaseModel):
    """How an event is doing, as `GET /events/{id}` tells it: nothing of its payload or its errors.

    Of an event that is no longer stored only `state` and `outcome` are known, and `event` unless several share a queue.
    """

    id: UUID
    event: str | None
    state: State
    outcome: str | None = None
    paused: bool = False
    attempt: int | None = None
    progress: Any = None
    emitted_at: datetime | None = None
    due_at: datetime | None = None
    began_at: datetime | None = None
    ended_at: datetime | None = None


class EventResult(EventStatus):
    """The same, with what the handler returned, once that has completed and as long as it is stored."""

    result: Any = None


def events_routes(
    herd: Oxherd,
    authorize: Authorize | None = None,
    *,
    events: Iterable[Event[Any, Any]] | None = None,
    results: bool = False,
) -> list[Route]:
    """Routes that tell how an event is doing: `GET /events/{id}` as JSON, `GET /events/{id}/stream` as it goes on.

    Args:
        herd: the herd.
        authorize: says who may ask about what, as in `oxherd.sse.updates_route`: called with the request and the
            event's UUID before anything is looked up. Only True lets a request through.
        events: those that are found; None: all of the herd.
        results: whether what a handler returned is told as well.

    They answer 403 to whom `authorize` refuses, 404 where nothing is stored, 503 while Redis is away, and the stream
    otherwise as `updates_route`.

    Redis: a script for each event (status), until it is known which one an id is of; where none has it, its end is
    looked for in each event's stream (script: ask; command: XREVRANGE).

    Raises:
        DeclarationError: there is no `authorize`, or another argument is invalid.
    """
    endpoint = EventsEndpoint(herd, authorize, events, results)
    return [
        Route(STATUS_PATH, endpoint.status, name="oxherd.event"),
        Route(STREAM_PATH, endpoint.stream, name="oxherd.event.stream"),
    ]


class EventsEndpoint:
    """Answers the requests for the events of a herd; `model` is what it tells of one."""

    def __init__(
        self,
        herd: Oxherd,
        authorize: Authorize | None,
        events: Iterable[Event[Any, Any]] | None,
        results: bool,
    ) -> None:
        if not isinstance(herd, Oxherd):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DeclarationError("The routes of events take a herd first, then authorize=.")
        if not callable(authorize):
            raise DeclarationError(
                "The routes of events need authorize=, a function of the request and the event's UUID that returns "
                "True for those who may ask."
            )
        self.model = EventResult if boolean(results, "results") else EventStatus
        self._herd = herd
        self._authorize = authorize
        self._finder = _Finder(herd, None if events is None else _checked(herd, events))

    async def status(self, request: Request) -> Response:
        """How an event is doing."""
        event_id = await permitted_id(request, self._authorize)
        if isinstance(event_id, Response):
            return event_id
        try:
            async with asyncio.timeout(self._herd.emit_timeout):
                found = await self._finder.find(event_id)
                shown = None if found is None else await self._shown(found)
        except (RedisUnavailable, TimeoutError):
            return refusal(503, "Service Unavailable")
        if shown is None:
            return refusal(404, "Not Found")
        return Response(_json(shown), media_type="application/json", headers=NO_STORE)

    async def stream(self, request: Request) -> Response:
        """What happens to an event, as server-sent events."""
        event_id = await permitted_id(request, self._authorize)
        if isinstance(event_id, Response):
            return event_id
        if (answer := told_already(request)) is not None:
            return answer
        try:
            async with asyncio.timeout(self._herd.emit_timeout):
                found = await self._finder.find(event_id)
        except (RedisUnavailable, TimeoutError):
            return refusal(503, "Service Unavailable")
        return refusal(404, "Not Found") if found is None else await stream(request, found.emitted, self._herd)

    async def _shown(self, found: _Found) -> EventStatus:
        shown = self.model.model_validate(found.facts())
        if isinstance(shown, EventResult) and shown.state == "completed" and shown.event is not None:
            # Removed, or emitted again, meanwhile; or it is of another version's type.
            with suppress(ResultGone, EventFailed, EventCancelled, InvalidResult):
                shown.result = await found.emitted.result()
        return shown


@dataclass(frozen=True)
class _Found:
    """An event that is stored, with its status, or one that has ended and is no longer stored, with its outcome."""

    emitted: Emitted[Any]
    status: Status | None
    outcome: str | None
    is_certain: bool = True

    def facts(self) -> dict[str, Any]:
        """What `EventStatus` shows."""
        told: dict[str, Any] = {"id": self.emitted.id, "event": self.emitted.event if self.is_certain else None}
        status = self.status
        if status is None:
            return {**told, "outcome": self.outcome, "state": "completed" if self.outcome == "completed" else "failed"}
        told |= {each: getattr(status, each) for each in EventStatus.model_fields if each not in told}
        if status.state in ("completed", "failed"):
            told["outcome"] = status.outcome or status.state  # as it is of one that has no outcome of ours
        return told


class _Finder:
    """Finds which event an id is of."""

    def __init__(self, herd: Oxherd, events: Sequence[Event[Any, Any]] | None) -> None:
        self._herd = herd
        self._events = events
        self._remembered: dict[UUID, Event[Any, Any]] = {}

    async def find(self, event_id: UUID) -> _Found | None:
        """The event with that id; None where nothing is stored of it. Raises RedisUnavailable."""
        known = self._remembered.get(event_id)
        if known is not None:
            found = await _stored(known, event_id) or await _ended(known, event_id, is_certain=True)
            if found is not None:
                return found
        events = [*(self._herd if self._events is None else self._events)]
        found = await _first(_stored(event, event_id) for event in events)
        if found is not None:
            self._remember(event_id, self._herd[found.emitted.event])
            return found
        return await _first(_ended(event, event_id, is_certain=self._is_alone(event)) for event in events)

    def _remember(self, event_id: UUID, event: Event[Any, Any]) -> None:
        self._remembered[event_id] = event
        if len(self._remembered) > _MOST_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]

    def _is_alone(self, event: Event[Any, Any]) -> bool:
        """Whether no other event of the herd has its queue, whose stream names no events."""
        queue = event.declaration.queue
        return not any(other.declaration.queue == queue and other is not event for other in self._herd)


async def _stored(event: Event[Any, Any], event_id: UUID) -> _Found | None:
    emitted = event.emitted(event_id)
    status = await emitted.status()
    return None if status is None else _Found(emitted, status, None)


async def _ended(event: Event[Any, Any], event_id: UUID, *, is_certain: bool) -> _Found | None:
    emitted = event.emitted(event_id)
    outcome = await emitted.outcome()
    return None if outcome is None else _Found(emitted, None, outcome, is_certain)


async def _first(looks: Iterable[Coroutine[Any, Any, T | None]]) -> T | None:
    """The first result that is not None, whose server need not wait for others that are away."""
    tasks = [asyncio.ensure_future(look) for look in looks]
    try:
        away: RedisUnavailable | None = None
        for done in asyncio.as_completed(tasks):
            try:
                found = await done
            except RedisUnavailable as error:
                away = error
                continue
            if found is not None:
                return found
        if away is not None:
            raise away
        return None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _checked(herd: Oxherd, events: Iterable[Event[Any, Any]]) -> list[Event[Any, Any]]:
    given = [*events]
    for event in given:
        if not isinstance(event, Event) or event.herd is not herd:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DeclarationError("events= takes events of this herd, such as what @herd.event(...) made.")
    return given


def _json(shown: EventStatus) -> str:
    try:
        return shown.model_dump_json()
    except (ValueError, RecursionError):  # progress as another program may have written it
        return shown.model_copy(update={"progress": None}).model_dump_json()
