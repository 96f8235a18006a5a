"""What answers for the pages: reads what a page needs, and makes its HTML or its stream."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, RedirectResponse, Response

from oxherd.dashboard.access.user import User
from oxherd.dashboard.last_known import LastKnown, NotKnown
from oxherd.dashboard.live import LiveStreams
from oxherd.dashboard.page import Load, Page, Request
from oxherd.dashboard.reading import Reading
from oxherd.dashboard.rendering import environment, render
from oxherd.errors import OxherdError, RedisUnavailable, UnknownEvent, UsageError

if TYPE_CHECKING:
    from oxherd.app import Oxherd

_log = logging.getLogger("oxherd.dashboard")

# What was done before a page was shown, as its address has it.
_DONE = {
    "pause": "It is paused.",
    "resume": "It goes on.",
    "limits": "Its limits are set.",
    "run": "Its payload is emitted.",
    "pause-schedule": "The schedule is paused.",
    "resume-schedule": "The schedule goes on.",
}


class Board:
    """What the pages of a herd share."""

    def __init__(self, herd: Oxherd, stopping: asyncio.Event | None = None) -> None:
        self.herd = herd
        self.known = LastKnown()
        self.live = LiveStreams(stopping)
        self.templates = environment()

    def endpoint(self, load: Load) -> Callable[[HttpRequest], Awaitable[Response]]:
        """What answers a page's requests: with the page, or, asked with `live=1`, the stream of its live part."""

        async def answer(request: HttpRequest) -> Response:
            if request.query_params.get("live") and request.method == "GET":
                return self.live.response(lambda: self._live_html(load, request))
            reading = Reading(self.herd, self.known)
            page = await _loaded(load, reading, asked_with(request))
            if page.redirect:
                return RedirectResponse(root_of(request) + page.redirect, 303)
            return self.response(request, page, reading)

        return answer

    async def _live_html(self, load: Load, request: HttpRequest) -> str:
        reading = Reading(self.herd, self.known)
        page = await _loaded(load, reading, asked_with(request))
        return self._html(request, page, "fragment.html", reading)

    def response(self, request: HttpRequest, page: Page, reading: Reading | None = None) -> Response:
        """A page as a whole."""
        return HTMLResponse(self._html(request, page, "layout.html", reading), page.status)

    def _html(self, request: HttpRequest, page: Page, layout: str, reading: Reading | None) -> str:
        user: User | None = request.scope["oxherd.user"]
        return render(
            self.templates,
            page.template,
            **page.values,
            layout=layout,
            title=page.title,
            nav=page.nav,
            user=user,
            root=root_of(request),
            live=_live_address(request) if page.is_live else None,
            done=_DONE.get(request.query_params.get("done", "")),
            query_now=asked_with(request).query,
            problem=None if reading is None else reading.problem,
            as_of=None if reading is None else reading.as_of,
        )


def asked_with(request: HttpRequest) -> Request:
    """A request as pages see it."""
    asked = {name: value for name, value in request.query_params.items() if name != "live"}
    return Request({name: str(value) for name, value in request.path_params.items()}, asked)


def root_of(request: HttpRequest) -> str:
    """Where the dashboard is mounted, without a slash at the end."""
    return str(request.scope.get("root_path", "")).rstrip("/")


async def _loaded(load: Load, reading: Reading, request: Request) -> Page:
    try:
        return await load(reading, request)
    except OxherdError as error:
        return replace(problem_page(error), is_live=True)


def problem_page(error: OxherdError) -> Page:
    """What is shown instead of what an error kept from being shown or done."""
    titles: dict[type[OxherdError], tuple[str, int]] = {
        NotKnown: ("Redis does not answer", 503),
        RedisUnavailable: ("Redis does not answer", 503),
        UnknownEvent: ("No such event", 404),
        UsageError: ("This cannot be done", 400),
    }
    found = next((kind for kind in titles if isinstance(error, kind)), None)
    title, status = ("This cannot be shown", 500) if found is None else titles[found]
    if found is None:
        _log.warning("dashboard: %s", error)
    return Page("problem.html", title, {"what": str(error), "again": status >= 500}, status=status, is_live=False)


def _live_address(request: HttpRequest) -> str:
    # Within the page's own address, so that a stream shows what the page does.
    query = request.url.query
    return f"{request.url.path}?{query + '&' if query else ''}live=1"
