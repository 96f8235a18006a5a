"""The Starlette application: the addresses, and what answers them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from oxherd.dashboard.access.keyring import Keyring
from oxherd.dashboard.access.login import login_routes
from oxherd.dashboard.actions.routes import action_routes
from oxherd.dashboard.board import Board
from oxherd.dashboard.operations import Operations
from oxherd.dashboard.page import Page
from oxherd.dashboard.pages import PAGES
from oxherd.dashboard.pages.operation import operation_page

if TYPE_CHECKING:
    from oxherd.app import Oxherd


def application(herd: Oxherd, keyring: Keyring | None = None, stopping: asyncio.Event | None = None) -> Starlette:
    """The pages and actions of a herd, without the guard before them."""
    board, operations = Board(herd, stopping), Operations(herd.admin)
    pages = {**PAGES, "/operations/{id}": operation_page(operations)}
    routes = [Route(path, board.endpoint(load), methods=["GET"]) for path, load in pages.items()]
    routes += action_routes(board, operations)
    if keyring is not None:
        routes += login_routes(keyring, lambda request, leads_to, wrong: _login_page(board, request, leads_to, wrong))
    assets = Mount("/assets", StaticFiles(packages=[("oxherd.dashboard", "assets")]), name="assets")
    return Starlette(routes=[*routes, assets])


def _login_page(board: Board, request: Request, leads_to: str, wrong: bool) -> Response:
    values = {"leads_to": leads_to, "wrong": wrong}
    return board.response(request, Page("login.html", "Sign in", values, status=403 if wrong else 200, is_live=False))
