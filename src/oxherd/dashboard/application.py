"""The Starlette application: the addresses of the pages, and what answers them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from oxherd.dashboard.access.user import User
from oxherd.dashboard.last_known import LastKnown, NotKnown
from oxherd.dashboard.live import LiveStreams
from oxherd.dashboard.page import Load, Page, Request
from oxherd.dashboard.pages import PAGES
from oxherd.dashboard.reading import Reading
from oxherd.dashboard.rendering import environment, render
from oxherd.errors import OxherdError, UnknownEvent, UsageError

if TYPE_CHECKING:
    from oxherd.app import Oxherd

_log = logging.getLogger("oxherd.dashboard")


class Board:
    """What the pages of a herd share."""

    def __init__(self, herd: Oxherd) -> None:
        self.herd = herd
        self.known = LastKnown()
        self.live = LiveStreams()
        self.templates = environment()

    def endpoint(self, load: Load) -> Callable[[HttpRequest], Awaitable[Response]]:
        """What answers a page's requests: with the page, or, asked with `live=1`, the stream of its live part."""

        async def answer(request: HttpRequest) -> Response:
            if request.query_params.get("live"):
                return self.live.response(lambda: self._html(load, request, "fragment.html", ignored_status))
            status: list[int] = []
            html = await self._html(load, request, "layout.html", status.append)
            return HTMLResponse(html, status[0])

        return answer

    async def _html(self, load: Load, request: HttpRequest, layout: str, say_status: Callable[[int], None]) -> str:
        reading = Reading(self.herd, self.known)
        page = await _loaded(load, reading, asked_with(request))
        say_status(page.status)
        return self.html(request, page, layout, reading)

    def html(
        self, request: HttpRequest, page: Page, layout: str = "layout.html", reading: Reading | None = None
    ) -> str:
        """A page, for the user who asks."""
        user: User = request.scope["oxherd.user"]
        root = str(request.scope.get("root_path", ""))
        return render(
            self.templates,
            page.template,
            **page.values,
            layout=layout,
            title=page.title,
            nav=page.nav,
            user=user,
            root=root,
            live=_live_address(request),
            query_now=asked_with(request).query,
            problem=None if reading is None else reading.problem,
            as_of=None if reading is None else reading.as_of,
        )


def application(herd: Oxherd) -> Starlette:
    """The pages, without the guard around them."""
    board = Board(herd)
    routes = [Route(path, board.endpoint(load), methods=["GET"]) for path, load in PAGES.items()]
    assets = Mount("/assets", StaticFiles(packages=[("oxherd.dashboard", "assets")]), name="assets")
    made = Starlette(routes=[*routes, assets])
    made.state.board = board
    return made


def asked_with(request: HttpRequest) -> Request:
    """A request as pages see it."""
    asked = {name: value for name, value in request.query_params.items() if name != "live"}
    return Request({name: str(value) for name, value in request.path_params.items()}, asked)


def ignored_status(status: int) -> None:
    """A stream has sent its status already."""


async def _loaded(load: Load, reading: Reading, request: Request) -> Page:
    try:
        return await load(reading, request)
    except NotKnown as error:
        return Page("problem.html", "Redis does not answer", {"what": str(error), "again": True}, status=503)
    except UnknownEvent as error:
        return Page("problem.html", "No such event", {"what": str(error), "again": False}, status=404)
    except UsageError as error:
        return Page("problem.html", "This cannot be shown", {"what": str(error), "again": False}, status=400)
    except OxherdError as error:
        _log.warning("dashboard: %s", error)
        return Page("problem.html", "This cannot be shown", {"what": str(error), "again": True}, status=500)


def _live_address(request: HttpRequest) -> str:
    # Within the page's own address, so that a stream shows what the page does.
    query = request.url.query
    return f"{request.url.path}?{query + '&' if query else ''}live=1"
