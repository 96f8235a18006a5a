"""A page's live part as server-sent events (WHATWG HTML, 9.2), rendered anew every two seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress

from starlette.responses import PlainTextResponse, Response, StreamingResponse

_EVERY_SECONDS = 2.0
# Then the browser reconnects, and who it is is asked again. Servers wait for open answers when they stop.
_LONGEST_SECONDS = 20.0
_MOST_STREAMS = 200
_RETRY = b"retry: 500\n\n"
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # nginx would keep it back


class LiveStreams:
    """The streams that are open; each renders by itself, but what is read is shared."""

    def __init__(self, stopping: asyncio.Event | None) -> None:
        self._open = 0
        self._stopping = stopping

    def response(self, render: Callable[[], Awaitable[str]]) -> Response:
        """A stream of what `render` returns, whenever that has changed; 503 where too many look."""
        if self._open >= _MOST_STREAMS:
            return PlainTextResponse("Too many pages are open.", 503, headers={**_HEADERS, "Retry-After": "10"})
        return StreamingResponse(self._messages(render), media_type="text/event-stream", headers=_HEADERS)

    async def _messages(self, render: Callable[[], Awaitable[str]]) -> AsyncGenerator[bytes]:
        self._open += 1
        try:
            yield _RETRY
            end, last = time.monotonic() + _LONGEST_SECONDS, ""
            while time.monotonic() < end and not self._is_stopping():
                html = await render()
                # A comment shows whether anybody is there.
                yield _message(html) if html != last else b":\n\n"
                last = html
                await self._pause()
        finally:
            self._open -= 1

    def _is_stopping(self) -> bool:
        return self._stopping is not None and self._stopping.is_set()

    async def _pause(self) -> None:
        if self._stopping is None:
            await asyncio.sleep(_EVERY_SECONDS)
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), _EVERY_SECONDS)


def _message(html: str) -> bytes:
    return "".join(f"data: {line}\n" for line in html.splitlines()).encode() + b"\n"
