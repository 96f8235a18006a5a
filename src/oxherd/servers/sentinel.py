"""A primary, a replica and three sentinels on this machine, for tests and drills."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from oxherd.errors import ServerError
from oxherd.redis.blocking import ReplyError
from oxherd.redis.url import Address
from oxherd.servers.config import Settings
from oxherd.servers.local import LocalServers
from oxherd.servers.polling import wait_until
from oxherd.servers.ports import free_ports
from oxherd.servers.process import ServerProcess

_SERVICE = "mymaster"
_SENTINELS = 3
_SETTLE = 60.0  # seconds; a sentinel asks its servers every 10 s, and others follow it some seconds later


class Sentinel(ServerProcess):
    """One sentinel on 127.0.0.1."""

    _ready_mark: ClassVar[str] = "Sentinel ID is"
    _arguments: ClassVar[tuple[str, ...]] = ("--sentinel",)

    def __init__(self, directory: Path, port: int, primary: int, *, binary: Path | None = None) -> None:
        settings: Settings = {
            "bind": "127.0.0.1",
            "port": port,
            "sentinel monitor": (_SERVICE, "127.0.0.1", primary, _SENTINELS // 2 + 1),
            "sentinel down-after-milliseconds": (_SERVICE, 1500),
            "sentinel failover-timeout": (_SERVICE, 6000),
        }
        super().__init__(directory, Address("127.0.0.1", port), settings, binary=binary)

    def primary_port(self) -> int:
        """The port of the server that this sentinel tells clients to use."""
        reply = self.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", _SERVICE)
        if not isinstance(reply, list):
            raise ServerError(f"The sentinel on port {self.port} does not know {_SERVICE}: start it again.")
        return int(str(reply[1]))

    def is_settled(self) -> bool:
        """Whether it sees the primary and a replica healthy, and knows the other sentinels."""
        reply = self.command("SENTINEL", "MASTER", _SERVICE)
        fields = [str(field) for field in reply] if isinstance(reply, list) else []
        seen = dict(zip(fields[::2], fields[1::2], strict=True))
        others = seen.get("num-other-sentinels") == str(_SENTINELS - 1)
        return seen.get("flags") == "master" and seen.get("num-slaves") == "1" and others


class LocalSentinel(LocalServers):
    """The service `mymaster`: `servers` (first a primary and a replica, which may change places) and `sentinels`.

    All files are in a new folder in `directory` (default: a temporary one), which `stop` removes; the processes also
    end with this one.
    """

    _name = "local Sentinel"

    def __init__(self, *, directory: Path | None = None) -> None:
        super().__init__(directory)
        self.servers: list[ServerProcess] = []
        self.sentinels: list[Sentinel] = []

    @property
    def url(self) -> str:
        """What a client connects to: all sentinels."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{_SERVICE}/0"

    def stop(self) -> None:
        """Kill all and remove their folder; without effect if there are none."""
        super().stop()
        self.servers, self.sentinels = [], []

    def primary(self) -> ServerProcess:
        """The server that the sentinels name as primary."""
        for sentinel in self._answering():
            port = sentinel.primary_port()
            return next(server for server in self.servers if server.port == port)
        raise ServerError("No sentinel answers: restart one.")

    def replica(self) -> ServerProcess:
        """The server that the sentinels do not name as primary."""
        primary = self.primary()
        return next(server for server in self.servers if server is not primary)

    def failover(self, timeout: float = _SETTLE) -> None:
        """Make the replica the primary; return when all sentinels that answer name it and it is one.

        The old primary follows some ten seconds later: `wait_stable` waits for that as well.
        """
        successor = self.replica()
        wait_until(self._accepts_failover, seconds=timeout, what="a sentinel accepts a failover")
        wait_until(
            lambda: _holds(lambda: self._follows(successor)), seconds=timeout, what="the sentinels have failed over"
        )

    def wait_stable(self, timeout: float = _SETTLE) -> None:
        """Return when all sentinels that answer agree, and the replica is in step with the primary."""
        wait_until(
            lambda: _holds(self._stable), seconds=timeout, what="the sentinels agree on a primary with a replica"
        )

    def _answering(self) -> list[Sentinel]:
        return [sentinel for sentinel in self.sentinels if sentinel.answering]

    def _accepts_failover(self) -> bool:
        try:
            self._answering()[0].command("SENTINEL", "FAILOVER", _SERVICE)
        except ReplyError as error:
            if error.code not in ("NOGOODSLAVE", "INPROG"):
                raise
            return False
        return True

    def _follows(self, server: ServerProcess) -> bool:
        named = {sentinel.primary_port() for sentinel in self._answering()}
        return named == {server.port} and server.role() == "primary"

    def _stable(self) -> bool:
        primary = self.primary()
        replicas = [server for server in self.servers if server is not primary]
        return (
            primary.answering
            and self._follows(primary)
            and all(sentinel.is_settled() for sentinel in self._answering())
            and all(
                r.answering and r.linked() and r.info("replication")["master_port"] == str(primary.port)
                for r in replicas
            )
        )

    def _processes(self) -> list[ServerProcess]:
        return [*self.sentinels, *self.servers]

    def _start_all(self, directory: Path) -> None:
        first, second, *watching = free_ports(2 + _SENTINELS)
        self._begin_server(directory, first, {})
        self._begin_server(directory, second, {"replicaof": ("127.0.0.1", first)})
        for server in self.servers:
            server.wait_ready()
        # A sentinel asks for replicas once at its start and then every 10 s.
        wait_until(self.servers[1].linked, seconds=_SETTLE, what="the replica is in step with its primary")
        for port in watching:
            self.sentinels.append(Sentinel(directory / f"sentinel-{port}", port, first))
            self.sentinels[-1].start()

    def _begin_server(self, directory: Path, port: int, more: Settings) -> None:
        settings: Settings = {
            "bind": "127.0.0.1",
            "port": port,
            "save": "",
            "appendonly": "yes",
            "repl-diskless-sync-delay": 0,
            **more,
        }
        self.servers.append(ServerProcess(directory / f"server-{port}", Address("127.0.0.1", port), settings))
        self.servers[-1].begin()


def _holds(condition: Callable[[], bool]) -> bool:
    """Whether it holds; not yet, where the server that was asked has cut the connection.

    A sentinel sends CLIENT KILL to a server that it reconfigures (Redis Sentinel's documentation).
    """
    try:
        return condition()
    except ConnectionError:
        return False
