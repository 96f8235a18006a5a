"""Streams an event's updates to browsers as server-sent events, from an ASGI application; needs `oxherd[sse]`."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from inspect import isawaitable, iscoroutinefunction
from typing import Any
from uuid import UUID

from oxherd.answers.status import Update
from oxherd.app import Oxherd
from oxherd.bullmq.event_stream import is_entry_id
from oxherd.emitted import Emitted
from oxherd.errors import ConfigError, DeclarationError, RedisUnavailable, ResultGone
from oxherd.event import Event

try:
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, Response, StreamingResponse
    from starlette.routing import Route
    from starlette.types import Receive, Scope, Send
except ImportError:
    raise ConfigError("Starlette is not installed; install oxherd[sse].") from None

Authorize = Callable[[Request, UUID], Awaitable[bool] | bool]

# Proxies close what is silent for a minute, some for half of one.
_HEARTBEAT_SECONDS = 15.0
# The browser then reconnects, and `authorize` is asked again.
_LONGEST_SECONDS = 600.0
_RETRY = b"retry: 2000\n\n"
_HEARTBEAT = b":\n\n"
# Of the last message's id: a browser reconnects even after it.
_END = "-end"
NO_STORE = {"Cache-Control": "no-store"}
# nginx would keep the messages until its buffer is full.
_HEADERS = {**NO_STORE, "X-Accel-Buffering": "no"}


def updates_route(event: Event[Any, Any], authorize: Authorize | None = None, *, path: str = "/{id}") -> Route:
    """A route that streams what happens to an event, for Starlette, FastAPI, or as an ASGI application by itself.

    Args:
        event: the event; only its own ids are found.
        authorize: says who may follow what: called with the request and the event's UUID before anything is looked up.
            Only True lets a request through; what it raises, the application handles. A `def` runs in a thread.
        path: where, with `{id}` for the event's UUID.

    A stream ends with the event, with its client, or after ten minutes, when a browser reconnects; `Last-Event-ID`, or
    `?after=`, is the id of the last message that a client has. Answers 403 to whom `authorize` refuses, 404 where
    nothing is stored, 503 while Redis is away, 204 to a browser that has seen the end, 400 to an id of no message.

    Raises:
        DeclarationError: there is no `authorize`, `event` is no event, or the path has no `{id}`.
    """
    if not isinstance(event, Event):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DeclarationError("updates_route() takes an event, such as what @herd.event(...) made.")
    if not callable(authorize):
        raise DeclarationError(
            f"{event.name}: updates_route() needs authorize=, a function of the request and the event's UUID that "
            "returns True for those who may follow it."
        )
    if not isinstance(path, str) or not path.startswith("/"):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DeclarationError(f"{event.name}: path= begins with a slash, such as '/orders/{{id}}/updates'.")
    route = Route(path, _Endpoint(event, authorize).answer, name=f"{event.name}.updates")
    if "id" not in route.param_convertors:
        raise DeclarationError(f"{event.name}: path= has {{id}} for the event's UUID, as '/orders/{{id}}/updates' has.")
    return route


class _Endpoint:
    """Answers the requests for one event's updates."""

    def __init__(self, event: Event[Any, Any], authorize: Authorize) -> None:
        self._event = event
        self._authorize = authorize

    async def answer(self, request: Request) -> Response:
        event_id = await permitted_id(request, self._authorize)
        if isinstance(event_id, Response):
            return event_id
        return told_already(request) or await stream(request, self._event.emitted(event_id), self._event.herd)


async def permitted_id(request: Request, authorize: Authorize) -> UUID | Response:
    """The UUID in a request's path, or the refusal of who may not ask about it, or has none."""
    event_id = _uuid(str(request.path_params["id"]))
    if event_id is None:
        return refusal(404, "Not Found")
    return event_id if await _is_authorized(authorize, request, event_id) else refusal(403, "Forbidden")


async def _is_authorized(authorize: Authorize, request: Request, event_id: UUID) -> bool:
    function: Callable[[Request, UUID], object] = authorize
    if iscoroutinefunction(function):
        answer: object = function(request, event_id)
    else:
        answer = await run_in_threadpool(function, request, event_id)
    if isawaitable(answer):
        answer = await answer
    return answer is True


def told_already(request: Request) -> Response | None:
    """The answer to a client that has seen the end, or names no message; None if there may be something to tell."""
    after = _last_seen(request)
    if after is not None and not is_entry_id(after.removesuffix(_END)):
        return refusal(400, "Last-Event-ID is the id of no message")
    if after is not None and after.endswith(_END):
        return Response(status_code=204, headers=NO_STORE)
    return None


async def stream(request: Request, emitted: Emitted[Any], herd: Oxherd) -> Response:
    """The stream of an event's updates, for a request that may follow it and is not told already."""
    updates = _Updates(emitted, _last_seen(request))
    try:
        await updates.check(herd.emit_timeout)
    except ResultGone:
        return refusal(404, "Not Found")
    except (RedisUnavailable, TimeoutError):
        return refusal(503, "Service Unavailable")
    if request.method == "HEAD":
        await updates.close()
        return Response(media_type=_Stream.media_type, headers=_HEADERS)
    return _Stream(updates)


def _last_seen(request: Request) -> str | None:
    """The position of the last message that a client has."""
    # A page cannot set headers on an EventSource, which sends the newer one when it reconnects.
    return request.headers.get("Last-Event-ID") or request.query_params.get("after") or None


class _Updates:
    """An event's updates; `next` waits for one, however often it is called until that has come."""

    def __init__(self, emitted: Emitted[Any], after: str | None) -> None:
        self.fresh = after is None
        self._emitted = emitted
        self._updates = emitted.updates(after)
        self._next: asyncio.Task[Update | None] | None = None

    async def check(self, timeout: float) -> None:
        """Raises ResultGone where nothing knows the event; RedisUnavailable or TimeoutError while Redis is away."""
        try:
            if await self._emitted.status() is None:
                # It has ended, and the first update comes at once, or nothing knows it.
                async with asyncio.timeout(timeout):
                    await asyncio.shield(self._coming())
        except BaseException:
            await self.close()
            raise

    async def next(self, seconds: float) -> Update | None:
        """The next update; None after the last. Raises TimeoutError if there is none within that time."""
        if not (await asyncio.wait((self._coming(),), timeout=seconds))[0]:
            raise TimeoutError
        update, self._next = self._coming().result(), None
        return update

    def _coming(self) -> asyncio.Task[Update | None]:
        if self._next is None:
            self._next = asyncio.create_task(self._read())
        return self._next

    async def _read(self) -> Update | None:
        return await anext(self._updates, None)

    async def close(self) -> None:
        """Follow the event no more."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)
        await self._updates.aclose()


class _Stream(StreamingResponse):
    """The stream of an event's updates; a client that leaves ends it at once, on whatever server."""

    media_type = "text/event-stream"

    def __init__(self, updates: _Updates) -> None:
        self._updates = updates
        super().__init__(_messages(updates), headers=_HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        sending = asyncio.create_task(self.stream_response(send))
        listening = asyncio.create_task(self.listen_for_disconnect(receive))
        try:
            # Longer only if the client does not read.
            limit = _LONGEST_SECONDS + 2 * _HEARTBEAT_SECONDS
            await asyncio.wait((sending, listening), timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            sending.cancel()
            listening.cancel()
            await asyncio.gather(sending, listening, return_exceptions=True)
            await self._updates.close()


async def _messages(updates: _Updates) -> AsyncGenerator[bytes]:
    until = time.monotonic() + _LONGEST_SECONDS
    yield _RETRY
    while time.monotonic() < until:
        try:
            update = await updates.next(_HEARTBEAT_SECONDS)
        except TimeoutError:
            yield _HEARTBEAT
            continue
        except ResultGone:  # removed meanwhile; a browser that reconnects is told
            return
        if update is None:
            return
        # With an id, a client that is cut off after it would miss the last progress, which has the same position.
        yield _message(update, with_id=not (updates.fresh and update.kind == "began"))
        updates.fresh = False


def _message(update: Update, *, with_id: bool) -> bytes:
    """An update as a message: JSON of one line, in ASCII, with nothing of the payload, the result or an error."""
    shown = {"kind": update.kind, "progress": update.progress, "outcome": update.outcome}
    try:
        data = json.dumps(shown, allow_nan=False)
    except (ValueError, RecursionError):  # as another program may have written it
        data = json.dumps({**shown, "progress": None})
    lines = [f"event: {update.kind}", f"data: {data}", "", ""]
    if with_id:
        lines.insert(0, f"id: {update.position}{_END if update.kind == 'ended' else ''}")
    return "\n".join(lines).encode("ascii")


def _uuid(text: str) -> UUID | None:
    try:
        found = UUID(text)
    except ValueError:
        return None
    return found if str(found) == text.lower() else None


def refusal(status: int, reason: str) -> Response:
    """An answer that tells nothing but why there is no other."""
    return PlainTextResponse(reason, status, headers=NO_STORE)
