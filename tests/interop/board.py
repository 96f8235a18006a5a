"""A bull-board of one queue on Node's side, and what it answers over HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx2 as httpx

from tests.interop.node_script import OnNode

# /later sets the clock of Node's side ahead: `clean` spares what is younger than five seconds.
SCRIPT = """
    const { createBullBoard } = require("@bull-board/api");
    const { BullMQAdapter } = require("@bull-board/api/bullMQAdapter");
    const { ExpressAdapter } = require("@bull-board/express");
    const express = require("express");
    const serverAdapter = new ExpressAdapter();
    createBullBoard({ queues: [new BullMQAdapter(queue)], serverAdapter });
    const app = express();
    const now = Date.now;
    app.put("/later/:ms", (request, response) => {
        Date.now = () => now() + Number(request.params.ms);
        response.json({});
    });
    app.use("/", serverAdapter.getRouter());
    const server = app.listen(0, "127.0.0.1", () => say({ port: server.address().port }));
    await done();
    server.close();
"""


class Board:
    """The board's own API, as its pages use it."""

    def __init__(self, http: httpx.AsyncClient, queue: str) -> None:
        self._http = http
        self.queue = queue
        self._path = f"/api/queues/{quote(queue, safe='')}"

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request; it must succeed."""
        answer = await self._http.request(method, path, json=body)
        assert answer.is_success, (method, path, answer.status_code, answer.text)
        return answer.json() if answer.content else None

    async def get(self, path: str) -> Any:
        """Read something of the queue."""
        return await self.ask("GET", self._path + path)

    async def put(self, path: str, body: Any = None) -> Any:
        """Press a button of the queue."""
        return await self.ask("PUT", self._path + path, body)

    async def patch(self, path: str, body: Any) -> Any:
        """Change something of the queue."""
        return await self.ask("PATCH", self._path + path, body)

    async def post(self, path: str, body: Any) -> Any:
        """Add something to the queue."""
        return await self.ask("POST", self._path + path, body)

    async def listed(self, status: str = "latest") -> dict[str, Any]:
        """The queue as the board's page gets it, with its jobs of one state."""
        query = f"activeQueue={quote(quote(self.queue))}&status={status}&page=1&jobsPerPage=50"
        found = await self.ask("GET", f"/api/queues?{query}")
        (queue,) = found["queues"]
        return queue

    async def jobs(self, status: str) -> list[dict[str, Any]]:
        """The jobs of one state."""
        return (await self.listed(status))["jobs"]

    async def counts(self) -> dict[str, int]:
        """The counts that are not zero."""
        return {state: count for state, count in (await self.listed())["counts"].items() if count}

    async def schedulers(self) -> list[dict[str, Any]]:
        """The job schedulers."""
        return (await self.ask("GET", "/api/job-schedulers"))["schedulers"]

    async def later(self, seconds: float) -> None:
        """Set the clock of Node's side ahead."""
        await self.ask("PUT", f"/later/{round(seconds * 1000)}")


@asynccontextmanager
async def board_of(on_node: OnNode, queue: str = "{order.placed}") -> AsyncGenerator[Board]:
    """A board while the block runs."""
    script = on_node(SCRIPT, queue)
    (told,) = await script.wait(lambda said: isinstance(said, dict) and "port" in said)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{told['port']}", timeout=20) as http:
        yield Board(http, queue)
    await script.end()
