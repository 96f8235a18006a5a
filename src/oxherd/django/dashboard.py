"""Answers a request of Django's by the dashboard, which is an ASGI application.

Pages, actions and assets are run in the herd's own event loop in a thread, so that what an action has begun goes on
whatever answers the next request. Live parts are streams: under ASGI they run in the server's loop; under WSGI, where a
stream would keep a thread, each has one message, and the browser asks again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Scope

from oxherd.dashboard import Role, User, dashboard
from oxherd.django.project import project_herd

_OPERATE = "oxherd.operate_dashboard"
_USER = "oxherd.django_user"
_AGAIN = b"retry: 5000\n\n"
_STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # nginx would keep it back
_lock = threading.Lock()


def answer(request: HttpRequest, root: str, below: str) -> HttpResponseBase:
    """The dashboard's answer to whoever may see it; `root` is the address of its first page, `below` the path there."""
    scope = _scope(request, root, below)
    with _lock:
        pages, streams = _applications()
    is_live = request.method == "GET" and bool(request.GET.get("live"))
    if is_live and isinstance(request, ASGIRequest):
        return StreamingHttpResponse(_stream(streams, scope), "text/event-stream", headers=_STREAM_HEADERS)
    answered = project_herd().run_sync(_answered(pages, scope, request.body, first_only=is_live))
    response = HttpResponse(answered.body, status=answered.status)
    del response.headers["Content-Type"]  # theirs follows, if there is one
    for name, value in answered.headers:
        response.headers[name.decode("latin-1")] = value.decode("latin-1")
    return response


@cache
def _applications() -> tuple[ASGIApp, ASGIApp]:
    # What they have read, and do, belongs to an event loop.
    made = [dashboard(project_herd(), authenticate=_authenticate) for _ in range(2)]
    return made[0], made[1]


async def _authenticate(request: Request) -> User | None:
    return request.scope[_USER]


def _scope(request: HttpRequest, root: str, below: str) -> Scope:
    user: Any = request.user  # the project's own model
    # The Host as Django has it, which may be a proxy's; it has checked it against ALLOWED_HOSTS.
    headers = {**{name.lower(): value for name, value in request.headers.items()}, "host": request.get_host()}
    path = root + below
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.scheme,
        "path": path,
        "raw_path": path.encode(),
        "root_path": root.rstrip("/"),
        "query_string": request.META.get("QUERY_STRING", "").encode("latin-1"),
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
        "client": (request.META.get("REMOTE_ADDR") or "", 0),
        "server": None,
        _USER: User(user.get_username(), Role.OPERATOR if user.has_perm(_OPERATE) else Role.VIEWER),
    }


@dataclass(slots=True)
class _Answer:
    status: int = 500
    headers: list[tuple[bytes, bytes]] = field(default_factory=list[tuple[bytes, bytes]])
    body: bytes = b""

    def take(self, message: Message) -> None:
        """Take what the application sends."""
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message["headers"])
        else:
            self.body += message.get("body", b"")


async def _answered(app: ASGIApp, scope: Scope, body: bytes, *, first_only: bool) -> _Answer:
    """A whole answer; with `first_only` of a stream its first message."""
    answered, enough = _Answer(), asyncio.Event()

    async def send(message: Message) -> None:
        answered.take(message)
        if first_only and b"data:" in answered.body:
            enough.set()
            await asyncio.Event().wait()  # until cancelled

    task = asyncio.ensure_future(app(scope, _receiving(body), send))
    waiting = asyncio.ensure_future(enough.wait())
    try:
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        else:
            answered.body += _AGAIN
    finally:
        await _end(task, waiting)
    return answered


async def _stream(app: ASGIApp, scope: Scope) -> AsyncGenerator[bytes]:
    chunks: asyncio.Queue[bytes | None] = asyncio.Queue(1)

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await chunks.put(message.get("body", b""))

    async def run() -> None:
        try:
            await app(scope, _receiving(b""), send)
        finally:
            await chunks.put(None)

    task = asyncio.create_task(run())
    try:
        while (chunk := await chunks.get()) is not None:
            yield chunk
        await task
    finally:
        await _end(task)


def _receiving(body: bytes) -> Any:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if not messages:
            await asyncio.Event().wait()  # who asks stays, as far as Django says
        return messages.pop()

    return receive


async def _end(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
