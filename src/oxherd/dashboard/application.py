"""The Starlette application: the addresses, and what answers them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from oxherd.dashboard.board import Board
from oxherd.dashboard.pages import PAGES

if TYPE_CHECKING:
    from oxherd.app import Oxherd


def application(herd: Oxherd) -> Starlette:
    """The pages, without the guard around them."""
    board = Board(herd)
    routes = [Route(path, board.endpoint(load), methods=["GET"]) for path, load in PAGES.items()]
    assets = Mount("/assets", StaticFiles(packages=[("oxherd.dashboard", "assets")]), name="assets")
    made = Starlette(routes=[*routes, assets])
    made.state.board = board
    return made
