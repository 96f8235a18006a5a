"""Runs scripts with real Node and its BullMQ on a test's queue."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from tests.harness import DEADLINE, environment, until

_PRELUDE = Path(__file__).with_name("node_side.cjs")


class NodeScript:
    """A script on Node's side that runs beside the test; what it says is read as it comes."""

    def __init__(self, node: str, modules: Path, url: str, prefix: str, queue: str, script: str) -> None:
        nodes = [{"host": host, "port": int(port)} for host, port in re.findall(r"([\d.]+):(\d+)", url)]
        if credentials := re.search(r"//([\w-]*):([\w-]+)@", url):
            nodes = [{**node, "username": credentials[1] or "default", "password": credentials[2]} for node in nodes]
        if database := re.search(r"\d/(\d+)$", url):
            nodes = [{**node, "db": int(database[1])} for node in nodes]
        given = {"script": script, "nodes": nodes, "prefix": prefix, "queue": queue}
        self.said: list[Any] = []
        self._process = subprocess.Popen(
            [node, str(_PRELUDE), json.dumps(given)],
            env=environment(NODE_PATH=str(modules)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._errors: list[str] = []
        self._readers = [threading.Thread(target=self._read), threading.Thread(target=self._read_errors)]
        for reader in self._readers:
            reader.start()

    async def wait(self, fits: Callable[[Any], bool] = lambda _: True, count: int = 1) -> list[Any]:
        """What it has said that fits, once there are `count` of them."""

        def found() -> list[Any] | None:
            running = self._process.poll() is None
            fitting = [each for each in self.said if fits(each)]
            assert len(fitting) >= count or running, self._told()
            return fitting if len(fitting) >= count else None

        try:
            return await until(found)
        except AssertionError:
            raise AssertionError(self._told()) from None

    async def end(self) -> list[Any]:
        """Close its standard input, wait for its end, and answer all that it said; it must not have failed."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        status = await asyncio.to_thread(self._process.wait, DEADLINE)
        for reader in self._readers:
            reader.join()
        assert status == 0, self._told()
        assert not [each for each in self.said if isinstance(each, dict) and "error" in each], self._told()
        return self.said

    def close(self) -> None:
        """End it for certain."""
        self._process.kill()
        self._process.wait()
        for reader in self._readers:
            reader.join()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self.said.append(json.loads(line))

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            self._errors.extend(lines)

    def _told(self) -> str:
        return f"Node said {self.said[-20:]}\n{''.join(self._errors[-20:])}"


class OnNode(Protocol):
    """Starts a script on a queue; it ends with the test."""

    def __call__(self, script: str, queue: str = ...) -> NodeScript: ...
