"""Reads a form that was sent, within bounds."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request

_MOST_BYTES = 64 * 1024
_MOST_SECONDS = 10.0
_TYPE = "application/x-www-form-urlencoded"


async def form(request: Request) -> dict[str, str]:
    """The fields of a form.

    Raises:
        HTTPException: it is too large (413), too slow (408), or no form that can be read (415, 400).
    """
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != _TYPE:
        raise HTTPException(415, f"Send a form, as {_TYPE}.")
    body = bytearray()
    try:
        async with asyncio.timeout(_MOST_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > _MOST_BYTES:
                    raise HTTPException(413, "The form is too large.")
    except TimeoutError:
        raise HTTPException(408, "The form has not come in time.") from None
    fields: dict[str, str] = {}
    try:
        for name, value in parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=1_000):
            if name in fields:
                raise HTTPException(400, "A field is there twice.")
            fields[name] = value
    except ValueError:
        raise HTTPException(400, "The form cannot be read.") from None
    return fields
