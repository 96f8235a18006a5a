"""Oxherd in a FastAPI application: its lifespan, and a router that tells how an event is doing.

Needs `oxherd[fastapi]`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from oxherd.app import Oxherd
from oxherd.errors import ConfigError
from oxherd.event import Event

try:
    from fastapi import APIRouter, Request, Response
except ImportError:
    raise ConfigError("FastAPI is not installed; install oxherd[fastapi].") from None

from oxherd.sse import Authorize
from oxherd.starlette import STATUS_PATH, STREAM_PATH, EventResult, EventsEndpoint, EventStatus, lifespan

__all__ = ["EventResult", "EventStatus", "events_router", "lifespan"]

_REFUSALS: dict[int | str, dict[str, Any]] = {
    403: {"description": "Not for whoever asks"},
    404: {"description": "Nothing is stored of the event"},
    503: {"description": "Redis is away"},
}
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {}}, "description": "The updates, until the event has ended"},
    204: {"description": "The client has seen the end"},
    400: {"description": "Last-Event-ID is the id of no message"},
}


def events_router(
    herd: Oxherd,
    authorize: Authorize | None = None,
    *,
    events: Iterable[Event[Any, Any]] | None = None,
    results: bool = False,
) -> APIRouter:
    """A router for `app.include_router`, which may add a prefix, tags and dependencies.

    Its routes, its arguments, and what it raises are those of `oxherd.starlette.events_routes`.
    """
    endpoint = EventsEndpoint(herd, authorize, events, results)
    router = APIRouter()

    @router.get(STATUS_PATH, name="oxherd.event", responses={200: {"model": endpoint.model}, **_REFUSALS})
    async def event_status(request: Request, id: str) -> Response:  # noqa: A002, ARG001 - for the schema
        """How an event is doing."""
        return await endpoint.status(request)

    @router.get(STREAM_PATH, name="oxherd.event.stream", responses={**_STREAM, **_REFUSALS})
    async def event_stream(request: Request, id: str) -> Response:  # noqa: A002, ARG001
        """What happens to an event, as server-sent events."""
        return await endpoint.stream(request)

    return router
