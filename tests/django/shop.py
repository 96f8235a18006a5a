"""The example project in processes of its own: gunicorn or uvicorn, workers, and `manage.py`."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import httpx2 as httpx

from oxherd.telemetry.logs.reader import read_records
from tests.harness import environment, run, until_sync

DEADLINE = 60.0  # several processes of Python, which start at once on few cores
SHOP = Path(__file__).parents[2] / "examples" / "django_shop"
_LISTENING = r"(?:Listening at:|running on) (http://127.0.0.1:\d+)"


class Shop:
    """The example with a database and a prefix of a test's own; `with` ends its processes."""

    def __init__(self, folder: Path, url: str, prefix: str, postgres: str = "") -> None:
        self.folder = folder
        self.variables: dict[str, Any] = {
            "OXHERD_URL": url,
            "SHOP_PREFIX": prefix,
            "SHOP_SQLITE": str(folder / "shop.sqlite3"),
            "SHOP_POSTGRES": postgres,
            "SHOP_DEBUG": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self._processes: list[subprocess.Popen[bytes]] = []
        self.client = httpx.Client(timeout=DEADLINE)
        self.log = folder / "worker.jsonl"

    def __enter__(self) -> Self:
        return self

    def migrate(self) -> None:
        """Make the tables."""
        assert self.manage("migrate", "-v", "0").returncode == 0

    def __exit__(self, *_: object) -> None:
        self.client.close()
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def manage(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run `manage.py` to its end."""
        return run(SHOP, sys.executable, "manage.py", *arguments, stdin=stdin, **self.variables)

    def start_worker(self, *options: str, script: str = "manage.py", cwd: Path = SHOP) -> subprocess.Popen[bytes]:
        """Start a worker that logs JSON; its records are `records()`."""
        command = [sys.executable, script, "oxherd", "worker", "--log-format", "json", *options]
        process = self._start(command, self.log, cwd=cwd)
        self.wait("worker.start")
        return process

    def start_plain_worker(self) -> subprocess.Popen[bytes]:
        """Start a worker that logs as the project says."""
        return self._start([sys.executable, "manage.py", "oxherd", "worker"], self.log)

    def serve(self, *command: str) -> None:
        """Start a web server, and have `client` ask it."""
        log = self.folder / "web.log"
        self._start([sys.executable, "-m", *command], log)
        address = until_sync(lambda: re.search(_LISTENING, log.read_text()), DEADLINE)
        self.client.base_url = address[1]

    def place(self, **order: Any) -> httpx.Response:
        """Order something."""
        return self.client.post("/orders/", json={"item": "pen", **order})

    def order(self, number: int) -> dict[str, Any]:
        """What the shop says of an order."""
        return self.client.get(f"/orders/{number}/").json()

    def records(self, message: str, **fields: Any) -> list[dict[str, Any]]:
        """What the workers have logged."""
        return [
            record
            for record in read_records(self.log)
            if record["msg"] == message and all(record.get(name) == value for name, value in fields.items())
        ]

    def wait(self, message: str, count: int = 1, deadline: float = DEADLINE, **fields: Any) -> list[dict[str, Any]]:
        """Wait until so many such records are there."""
        try:
            until_sync(lambda: len(self.records(message, **fields)) >= count, deadline)
        except AssertionError:
            raise AssertionError(f"no {count} records {message!r}; the log:\n{self.log.read_text()[-4000:]}") from None
        return self.records(message, **fields)

    def _start(self, command: list[str], log: Path, cwd: Path = SHOP) -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env=environment(**self.variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self._processes.append(process)
        return process
