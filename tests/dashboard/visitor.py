"""A visitor of a dashboard, in this event loop: asks its pages, and does what their forms do."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2

HOST = "http://127.0.0.1"
OURS = {"Sec-Fetch-Site": "same-origin"}


@asynccontextmanager
async def visitor(
    app: Callable[..., Any], *, host: str = HOST, peer: str = "127.0.0.1", **headers: str
) -> AsyncGenerator[httpx2.AsyncClient]:
    """A client of an application; it follows no redirection."""
    transport = httpx2.ASGITransport(app=app, client=(peer, 40_000))
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx2.AsyncClient(transport=transport, base_url=host, headers=named) as client:
        yield client
