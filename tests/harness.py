"""What the tests share: records to wait for, herds on private prefixes, workers as real processes."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oxherd.servers.config import Settings
from oxherd.servers.standalone import StandaloneServer
from oxherd.telemetry.logs.reader import read_records

DEADLINE = 20.0


class Records(logging.Handler):
    """The records of a logger, to be looked at and waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[logging.LogRecord] = []
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.all.append(record)
        for loop, event in self._waiting:
            loop.call_soon_threadsafe(event.set)

    def named(self, message: str, **fields: Any) -> list[logging.LogRecord]:
        """The records with that message whose attributes have these values."""
        return self._matching(self.all, message, fields)

    @staticmethod
    def _matching(records: list[logging.LogRecord], message: str, fields: dict[str, Any]) -> list[logging.LogRecord]:
        return [
            record
            for record in records
            if record.getMessage() == message
            and all(str(getattr(record, name, None)) == str(value) for name, value in fields.items())
        ]

    async def wait(self, message: str, count: int = 1, deadline: float = DEADLINE, **fields: Any) -> list[Any]:
        """Wait until there are `count` such records; answers them."""
        event = asyncio.Event()
        entry = (asyncio.get_running_loop(), event)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(deadline):
                found: list[logging.LogRecord] = []
                looked_at = 0  # each record is looked at once, since a test may wait for thousands
                while True:
                    new = self.all[looked_at:]
                    looked_at += len(new)
                    found += self._matching(new, message, fields)
                    if len(found) >= count:
                        return found
                    event.clear()
                    if len(self.all) == looked_at:
                        await event.wait()
        except TimeoutError:
            seen = [
                (record.getMessage(), getattr(record, "outcome", None), getattr(record, "error", None))
                for record in self.all
            ]
            raise AssertionError(
                f"no {count} records {message!r} with {fields} in {deadline} s; seen: {seen[-30:]}"
            ) from None
        finally:
            self._waiting.remove(entry)


async def until(condition: Callable[[], Any], deadline: float = DEADLINE, every: float = 0.02) -> Any:
    """Poll a condition (or coroutine function) until it is true; answers its value."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"it did not become true within {deadline} s")
        await asyncio.sleep(every)


def until_sync(condition: Callable[[], Any], deadline: float = DEADLINE, every: float = 0.02) -> Any:
    """`until` for tests without an event loop."""
    end = time.monotonic() + deadline
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"it did not become true within {deadline} s")
        time.sleep(every)
    return value


def environment(**extra: str) -> dict[str, str]:
    """This process's environment, without what would point a child at another server."""
    kept = {key: value for key, value in os.environ.items() if key != "OXHERD_URL"} | extra
    if not kept.get("OXHERD_URL", "-"):  # an app that names its server itself
        del kept["OXHERD_URL"]
    return kept


def following(primary: StandaloneServer) -> Settings:
    """The settings of a replica."""
    return {"replicaof": ("127.0.0.1", primary.port), "masterauth": str(primary.password)}


class WorkerProcess:
    """A worker started from the command line, its JSON log read as it grows."""

    def __init__(self, folder: Path, *arguments: str, url: str, log: str = "worker.jsonl") -> None:
        self.log = folder / log
        self.output = self.log.with_suffix(".out")
        self._file = self.log.open("ab")
        self._output = self.output.open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "oxherd", "worker", "app:herd", "--log-format", "json", *arguments],
            cwd=folder,
            env=environment(OXHERD_URL=url),
            stdin=subprocess.DEVNULL,
            # Not the log's file: what a handler prints may be written in two pieces.
            stdout=self._output,
            stderr=self._file,
        )

    def records(self) -> list[dict[str, Any]]:
        """The whole lines so far."""
        return list(read_records(self.log))

    def count(self, message: str, **fields: Any) -> int:
        """How many records have that message and these fields."""
        return sum(
            record["msg"] == message and all(record.get(k) == v for k, v in fields.items()) for record in self.records()
        )

    def wait(self, message: str, count: int = 1, deadline: float = DEADLINE, **fields: Any) -> None:
        """Wait until so many such records are there."""
        try:
            until_sync(lambda: self.count(message, **fields) >= count, deadline)
        except AssertionError:
            text = self.log.read_text()
            raise AssertionError(f"no {count} records {message!r} with {fields}; the log:\n{text[-4000:]}") from None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this very process."""
        self.process.send_signal(number)

    def stop(self, deadline: float = DEADLINE) -> int:
        """SIGTERM, and the exit status."""
        self.signal(signal.SIGTERM)
        return self.exit(deadline)

    def exit(self, deadline: float = DEADLINE) -> int:
        """Wait for the end; the exit status."""
        return self.process.wait(deadline)

    def close(self) -> None:
        """End it for certain."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._file.close()
        self._output.close()


PYTEST = (sys.executable, "-m", "pytest", "-p", "pytest_oxherd", "-p", "no:cacheprovider")


def run(
    folder: Path, *command: str, timeout: float = 60, stdin: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in a folder, with these variables in its environment."""
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(**variables),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def cli(
    folder: Path, *arguments: str, url: str | None = None, drill: str | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command of ours to its end, with a server for it, or for its drills."""
    given = {"OXHERD_URL": url, "OXHERD_DRILL_URL": drill}
    extra: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return run(folder, sys.executable, "-m", "oxherd", *arguments, stdin=stdin, **extra)
