"""Stands before every page, action and asset: nothing is answered that it has not let through."""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from oxherd.dashboard.access.access import Access
from oxherd.dashboard.access.headers import with_headers
from oxherd.dashboard.access.same_origin import is_same_origin

_METHODS = ("GET", "HEAD", "POST")
_SIGN = ("/login", "/logout")
_ASSETS = "/assets/"


class Guard:
    """Lets a request through if its Host, its user, its origin and its user's role allow it.

    What is let through finds its user as `scope["oxherd.user"]`; None on the page to sign in, and for assets.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        request = Request(scope, receive)
        path = path_below(scope)
        answering = with_headers(send, is_asset=path.startswith(_ASSETS))
        refusal = await self._refusal(request, path)
        await (self._app if refusal is None else refusal)(scope, receive, answering)

    async def _refusal(self, request: Request, path: str) -> Response | None:
        if request.method not in _METHODS:
            return PlainTextResponse("Method Not Allowed", 405, headers={"Allow": ", ".join(_METHODS)})
        hosts = self._access.hosts
        if hosts is not None and not hosts.allows(request):
            return PlainTextResponse(
                "This Host is not the dashboard's; allow it by --allowed-host or allowed_hosts=.", 421
            )
        if request.method == "POST" and not is_same_origin(request):
            return PlainTextResponse("Only the dashboard's own pages may send this.", 403)
        is_open = path.startswith(_ASSETS) or (path in _SIGN and self._access.keyring is not None)
        request.scope["oxherd.user"] = user = None if is_open else await self._access.user(request)
        if is_open:
            return None
        if user is None:
            return self._unknown(request, path)
        if request.method == "POST" and not user.may_act:
            return PlainTextResponse("A viewer cannot change anything; ask an operator.", 403)
        return None

    def _unknown(self, request: Request, path: str) -> Response:
        if self._access.keyring is not None:
            if request.method == "GET" and not request.query_params.get("live"):
                query = f"?{request.url.query}" if request.url.query else ""
                root = str(request.scope.get("root_path", "")).rstrip("/")
                return RedirectResponse(f"{root}/login?{urlencode({'next': path + query})}", 303)
            return PlainTextResponse("Sign in first.", 401, headers={"WWW-Authenticate": "Bearer"})
        if self._access.authenticate is not None:
            return PlainTextResponse("Forbidden", 403)
        return PlainTextResponse(
            "The dashboard opens without authentication only on the machine that it runs on, and by no proxy: pass "
            "authenticate= or token= to dashboard().",
            403,
        )


def path_below(scope: Scope) -> str:
    """A request's path below the one where the dashboard is mounted."""
    path, root = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path
