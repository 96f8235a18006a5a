"""The page to sign in with a token."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from oxherd.dashboard.access.access import COOKIE, log_wrong_token
from oxherd.dashboard.access.form import form
from oxherd.dashboard.access.keyring import SESSION_SECONDS, Keyring

_FAILED_SECONDS = 0.5

# Makes the page of a request: where it leads afterwards, whether a token was wrong.
MakePage = Callable[[Request, str, bool], Response]


def login_routes(keyring: Keyring, make_page: MakePage) -> list[Route]:
    """The routes to sign in and out."""

    async def login(request: Request) -> Response:
        if request.method != "POST":
            return make_page(request, local_path(request.query_params.get("next", "")), False)
        fields = await form(request)
        token, leads_to = fields.get("token", ""), local_path(fields.get("next", ""))
        if keyring.user(token) is None:
            log_wrong_token(request)
            # Slows down who guesses, and nobody else.
            await asyncio.sleep(_FAILED_SECONDS)
            return make_page(request, leads_to, True)
        answer = RedirectResponse(_root(request) + leads_to, 303)
        answer.set_cookie(
            COOKIE,
            keyring.session(token),
            max_age=SESSION_SECONDS,
            path=_root(request) or "/",
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )
        return answer

    async def logout(request: Request) -> Response:
        answer = RedirectResponse(f"{_root(request)}/login", 303)
        answer.delete_cookie(COOKIE, path=_root(request) or "/", httponly=True, samesite="lax")
        return answer

    return [Route("/login", login, methods=["GET", "POST"]), Route("/logout", logout, methods=["POST"])]


def local_path(text: str) -> str:
    """A path below the dashboard's own; of anything else, its first page."""
    is_local = text.startswith("/") and not text.startswith("//") and "\\" not in text and text.isprintable()
    return text if is_local and text.isascii() else "/"


def _root(request: Request) -> str:
    return str(request.scope.get("root_path", "")).rstrip("/")
