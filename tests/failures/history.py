"""What histories at random share: an app whose handlers note their runs, and workers that come and are killed."""

from __future__ import annotations

import asyncio
import json
import signal
import textwrap
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from oxherd import Oxherd
from oxherd.servers.local_server import LocalServer
from tests.harness import WorkerProcess


class Run(NamedTuple):
    """What a handler of a mixed history notes of a run, when it begins and when it returns."""

    what: str
    event: str
    id: str
    number: int
    attempt: int
    fence: int
    at: float


class History:
    """Runs steps, each a method's name with its arguments; `app` is the source of what the workers run."""

    def __init__(self, folder: Path, server: LocalServer, app: str, **values: Any) -> None:
        prefix = f"h{uuid4().hex[:10]}"
        (folder / "app.py").write_text(textwrap.dedent(app).format(prefix=prefix, **values))
        (folder / "runs").touch()
        self.folder, self.server = folder, server
        self.herd = Oxherd(server.url, prefix=prefix)
        self.workers: list[WorkerProcess] = []

    async def take(self, steps: list[Any]) -> None:
        """Take the steps, and see to it that a worker is there in the end."""
        for name, *arguments in steps:
            await getattr(self, name)(*arguments)
        if not self.workers:
            await self.worker()

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def worker(self) -> None:
        if len(self.workers) < 2:
            log = f"worker-{uuid4().hex[:6]}.jsonl"
            self.workers.append(WorkerProcess(self.folder, url=self.server.url, log=log))

    async def kill(self) -> None:
        if self.workers:
            self.workers.pop().close()

    def runs(self) -> list[Any]:
        """What the handlers have noted."""
        return [json.loads(line) for line in (self.folder / "runs").read_text().splitlines()]

    def close(self) -> None:
        for worker in self.workers:
            worker.signal(signal.SIGTERM)
        for worker in self.workers:
            worker.exit()
            worker.close()
