"""Histories of several events at once, each a part with a model of its own, on servers that die and fall silent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from oxherd.servers.local_server import LocalServer
from oxherd.servers.process import ServerProcess
from tests.failures.history import History, Run
from tests.failures.history_part import ATTEMPTS, RESTS, Part

APP = f"""
import asyncio, json, os, time
from oxherd import Context, Every, Oxherd, PerKey, Rate, RateLimited, Retry, Schedule

herd = Oxherd(prefix={{prefix!r}})
RUNS = os.open("runs", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
RETRY = Retry(attempts={ATTEMPTS}, delay=0.1)
RESTS = {str(RESTS).replace("{", "{{").replace("}", "}}")}

def note(what: str, number: object, ctx: Context) -> None:
    line = json.dumps([what, ctx.event, str(ctx.id), number, ctx.attempt, ctx.fence, time.time()])
    os.write(RUNS, (line + "\\n").encode())

async def run(payload: dict[str, object], ctx: Context) -> object:
    number, kind = payload["number"], payload.get("kind")
    note("began", number, ctx)
    await asyncio.sleep(0.3 if kind == "slow" else 0.01)
    if kind == "fails" or (kind == "retries" and ctx.attempt < {ATTEMPTS}):
        raise ValueError("as told")
    if kind in RESTS and ctx.fence == 1:
        raise RateLimited(RESTS[kind], "as told")
    note("returned", number, ctx)
    return number
"""


class MixedHistory(History):
    """A step is a method's name with its arguments; `tell` hands one to a part."""

    def __init__(
        self, folder: Path, server: LocalServer, parts: Sequence[Part], processes: Sequence[ServerProcess]
    ) -> None:
        app = APP + "".join(part.source.replace("{", "{{").replace("}", "}}") for part in parts)
        super().__init__(folder, server, app)
        self.parts = {part.name: part for part in parts}
        self.processes = processes
        self._back: asyncio.Task[None] | None = None
        for part in parts:
            part.begin(self.herd, self._runs_of(part.name))

    async def run(self, steps: list[Any]) -> None:
        """Take the steps, let all come to its end, and judge."""
        async with self.herd:
            try:
                await self.take(steps)
            finally:
                await self._server_is_back()
            await asyncio.gather(*(part.settle() for part in self.parts.values()))
            for part in self.parts.values():
                await part.judge()

    async def tell(self, part: str, call: str, *arguments: Any) -> None:
        await getattr(self.parts[part], call)(*arguments)

    async def worker_is_there(self) -> None:
        """Wait for the oldest worker, which takes a second to start."""
        await asyncio.to_thread(self.workers[0].wait, "worker.start", deadline=60)

    async def outage(self, index: int, seconds: float) -> None:
        """A server dies, and comes back with its data; what follows is done meanwhile."""
        process = await self._next_process(index)
        await asyncio.to_thread(process.kill)
        self._back = asyncio.create_task(self._bring_back(process.start, seconds))

    async def freeze(self, index: int, seconds: float) -> None:
        """A server falls silent for a time; what follows is done meanwhile."""
        process = await self._next_process(index)
        process.pause()
        self._back = asyncio.create_task(self._bring_back(process.resume, seconds))

    async def burst(self, index: int, part: str, *arguments: Any) -> None:
        """A server dies while events are emitted: nobody knows which it has stored."""
        process = await self._next_process(index)
        emits = [asyncio.create_task(self.tell(part, "emit", *arguments)) for _ in range(6)]
        await asyncio.sleep(0.002)
        await asyncio.to_thread(process.kill)
        await asyncio.to_thread(process.start)
        await asyncio.gather(*emits)

    async def _next_process(self, index: int) -> ServerProcess:
        await self._server_is_back()
        return self.processes[index % len(self.processes)]

    async def _bring_back(self, bring_back: Callable[[], None], seconds: float) -> None:
        await asyncio.sleep(seconds)
        await asyncio.to_thread(bring_back)

    async def _server_is_back(self) -> None:
        if self._back is not None:
            back, self._back = self._back, None
            await back

    def _runs_of(self, name: str) -> Callable[[], list[Run]]:
        return lambda: [run for run in (Run(*each) for each in self.runs()) if run.event == name]
