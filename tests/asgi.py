"""A client of an ASGI application in this event loop, which may leave, or stop reading."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Self

from tests.harness import DEADLINE

Message = dict[str, str]


class Request:
    """A GET of an application's path, answered until it is left; `async with` leaves it."""

    def __init__(
        self,
        app: Callable[..., Any],
        path: str,
        *,
        method: str = "GET",
        query: str = "",
        spec: str = "2.4",
        **headers: str,
    ) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.ended = False
        self.reads = asyncio.Event()
        self.reads.set()
        self._changed = asyncio.Event()
        self._left = asyncio.Event()
        self._asked = False
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": spec},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(name.replace("_", "-").lower().encode(), text.encode()) for name, text in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        self.task = asyncio.create_task(self._run(app))

    async def _run(self, app: Callable[..., Any]) -> None:
        try:
            await app(self._scope, self._receive, self._send)
        finally:
            self.ended = True
            self._changed.set()

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        await self.reads.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): text.decode() for name, text in message["headers"]}
        else:
            self.body += message.get("body", b"")
        self._changed.set()

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until something of the answer is so, or it has ended."""
        async with asyncio.timeout(DEADLINE):
            while not condition() and not self.ended:
                self._changed.clear()
                await self._changed.wait()
        if self.task.done() and not self.task.cancelled() and (error := self.task.exception()):
            raise error
        assert condition(), (self.status, self.body)

    async def end(self) -> Self:
        """Wait for the whole answer."""
        await self.until(lambda: self.ended)
        return self

    @property
    def messages(self) -> list[Message]:
        """The server-sent events so far, as a browser reads them; comments and `retry` left out."""
        found: list[Message] = []
        for block in self.body.decode().split("\n\n")[:-1]:
            fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith((":", "retry")))
            if fields:
                found.append(fields)
        return found

    @property
    def told(self) -> list[tuple[str, Any]]:
        """The kinds of the messages, with their progress or outcome."""
        shown = [json.loads(message["data"]) for message in self.messages]
        assert [message["event"] for message in self.messages] == [each["kind"] for each in shown]
        return [(each["kind"], each["outcome"] if each["kind"] == "ended" else each["progress"]) for each in shown]

    async def leave(self) -> None:
        """Close the connection, and wait until the application has noticed."""
        self._left.set()
        await asyncio.wait_for(self.task, DEADLINE)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()
