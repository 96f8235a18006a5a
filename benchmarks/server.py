"""The servers that all systems share in turns, and what is asked of them."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.systems import System
from oxherd.servers.standalone import StandaloneServer

BUNDLED = "valkey"
REDIS = "redis"


def redis_binary() -> Path | None:
    """The `redis-server` of the PATH."""
    found = shutil.which("redis-server")
    return Path(found) if found else None


class Server:
    """A standalone server of the suite's own, the bundled one unless another binary is given; it saves nothing.

    Once it has started, `version` is its name and version, and `allocator` what it takes its memory from.
    """

    def __init__(self, binary: Path | None = None) -> None:
        self._server = StandaloneServer(binary=binary)
        self.version = ""
        self.allocator = ""

    def __enter__(self) -> Server:
        self._server.start()
        info = self._server.info("server")
        valkey = info.get("valkey_version")
        self.version = f"Valkey {valkey}" if valkey else f"Redis {info['redis_version']}"
        self.allocator = self._server.info("memory")["mem_allocator"]
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    @property
    def url(self) -> str:
        """What clients connect to."""
        return self._server.url

    def empty(self) -> None:
        """FLUSHALL."""
        self._server.command("FLUSHALL", "SYNC", timeout=60)

    def cpu_seconds(self) -> float:
        """Processor time of the server so far."""
        info = self._server.info("cpu")
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])

    def used_memory(self) -> int:
        """Bytes that the data takes."""
        return int(self._server.info("memory")["used_memory"])

    def left(self, system: System) -> int:
        """Events that are still queued, running or failed in that system."""
        return sum(self._left(command, key) for command, key in system.left)

    def _left(self, command: str, key: str) -> int:
        if command == "XLAG":
            return self._lag(key)
        reply = self._server.command(command, key)
        return reply if isinstance(reply, int) else 0

    def _lag(self, key: str) -> int:
        """Entries of a stream that its only group has not acknowledged; all of them before there is a group."""
        if not self._server.command("EXISTS", key):
            return 0
        groups = self._server.command("XINFO", "GROUPS", key)
        if not isinstance(groups, list) or not groups:
            length = self._server.command("XLEN", key)
            return length if isinstance(length, int) else 0
        fields = groups[0]
        assert isinstance(fields, list)
        pairs = {str(fields[n]): fields[n + 1] for n in range(0, len(fields), 2)}
        pending, lag = pairs["pending"], pairs["lag"]
        return (pending if isinstance(pending, int) else 0) + (lag if isinstance(lag, int) else 0)
