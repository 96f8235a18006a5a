"""A shop whose orders fail, wait and are paused: what the commands are tried on."""

from __future__ import annotations

import json
import runpy
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oxherd import Oxherd
from tests.cli.support import WriteApp
from tests.cli.terminal import in_terminal
from tests.harness import WorkerProcess, cli

APP = """
from typing import Annotated
from oxherd import Context, Cron, Mask, Oxherd, Retry, Schedule
from pydantic import BaseModel

herd = Oxherd(prefix=PREFIX, emit_timeout=3)

class Order(BaseModel):
    number: int
    email: Annotated[str, Mask("email")] = "canary-2718@example.com"
    note: str = ""

NIGHTLY = Schedule(Cron("0 2 * * *"), Order(number=0))

@herd.event("order.placed", retry=Retry(attempts=1), schedules={"nightly": NIGHTLY})
async def order_placed(order: Order) -> None:
    if order.number % 2:
        raise ValueError(f"no stock for {order.note or order.number}")

@herd.event("order.billed", retry=Retry(attempts=1))
async def order_billed(order: Order) -> None:
    raise KeyError("no such customer")

herd.declare("mail.send", Order)
"""


class Shop:
    """The app of a test, and the commands that are run on it."""

    def __init__(self, folder: Path, url: str, start_worker: Callable[..., WorkerProcess]) -> None:
        self.folder = folder
        self.url = url
        self._start_worker = start_worker
        self._workers = 0

    def run(self, *arguments: str, status: int = 0, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command on the herd."""
        done = cli(self.folder, arguments[0], "app:herd", *arguments[1:], url=self.url, stdin=stdin)
        assert done.returncode == status, done
        assert "Traceback" not in done.stderr
        return done

    def json(self, *arguments: str, status: int = 0) -> list[dict[str, Any]]:
        """The objects that a command prints."""
        return [json.loads(line) for line in self.run(*arguments, "--json", status=status).stdout.splitlines()]

    def event(self, name: str) -> dict[str, Any]:
        """What `ls` says of an event."""
        return next(row for row in self.json("ls") if row["name"] == name)

    def screen(self, *arguments: str, columns: int = 80, status: int = 0, **variables: str) -> list[str]:
        """The lines that a command prints in a terminal."""
        command, *rest = arguments
        return in_terminal(
            self.folder, command, "app:herd", *rest, url=self.url, columns=columns, status=status, **variables
        )

    def emit(self, event: str, *payloads: dict[str, Any]) -> list[str]:
        """Emit, and return the UUIDs."""
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("OXHERD_URL", self.url)
            herd: Oxherd = runpy.run_path(str(self.folder / "app.py"))["herd"]
            try:
                return [str(emitted.id) for emitted in herd[event].emit_many_sync(payloads)]
            finally:
                herd.close_sync()

    def worker(self, *arguments: str) -> WorkerProcess:
        """Start a worker."""
        self._workers += 1
        return self._start_worker(*arguments, url=self.url, log=f"worker{self._workers}.jsonl")

    def process(self, count: int, event: str = "order.placed") -> None:
        """Have a worker process so many of an event, and stop."""
        worker = self.worker("--event", event)
        worker.wait("event.end", count=count)
        worker.stop()


@pytest.fixture
def make_shop(write_app: WriteApp, start_worker: Callable[..., WorkerProcess]) -> Callable[..., Shop]:
    """Opens shops on a server."""

    def make(url: str, app: str = APP) -> Shop:
        return Shop(write_app(app), url, start_worker)

    return make


@pytest.fixture
def shop(make_shop: Callable[..., Shop], standalone: str) -> Shop:
    """A shop on the standalone server."""
    return make_shop(standalone)
