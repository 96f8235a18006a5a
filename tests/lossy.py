"""A way to a real server on which answers can be lost."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit


class LossyWay:
    """Passes on what a client and the server of `url` say, until it is told to lose the answers."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._port = urlsplit(url).port
        self._losing = False
        self._connections: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """What a client connects to."""
        return self._url.replace(f":{self._port}/", f":{self._server.sockets[0].getsockname()[1]}/")

    def lose_answers(self) -> None:
        """From now on the server's answers reach nobody."""
        self._losing = True

    def cut(self) -> None:
        """Cut the connections; new ones lose nothing."""
        self._losing = False
        for connection in self._connections:
            connection.close()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own, which the end waits for: a client may connect as the last thing that happens.
        self._begin(self._join(reader, writer))

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._connections |= {writer, back}
        self._begin(self._pass_on(reader, back, answers=False))
        self._begin(self._pass_on(there, writer, answers=True))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if not (answers and self._losing):
                    writer.write(data)
                    await writer.drain()
        writer.close()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        while self._tasks:
            self.cut()
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for connection in self._connections:
            with suppress(OSError):
                await connection.wait_closed()
