"""A primary, a replica and three sentinels on this machine, for tests and drills."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from oxherd.errors import ServerError
from oxherd.redis.blocking import ReplyError
from oxherd.redis.url import Address
from oxherd.servers.config import Settings
from oxherd.servers.local_server import LocalTopology, new_password
from oxherd.servers.polling import wait_until
from oxherd.servers.ports import free_ports
from oxherd.servers.process import ServerProcess

_SERVICE = "mymaster"
_SENTINELS = 3
_SETTLE_SECONDS = 60.0  # a sentinel asks its servers every 10 s, and others follow seconds later


class Sentinel(ServerProcess):
    """One sentinel on 127.0.0.1."""

    _ready_mark: ClassVar[str] = "Sentinel ID is"
    _arguments: ClassVar[tuple[str, ...]] = ("--sentinel",)

    def __init__(self, directory: Path, port: int, primary: int, password: str, *, binary: Path | None = None) -> None:
        settings: Settings = {
            "bind": "127.0.0.1",
            "port": port,
            "sentinel monitor": (_SERVICE, "127.0.0.1", primary, _SENTINELS // 2 + 1),
            "sentinel down-after-milliseconds": (_SERVICE, 1500),
            "sentinel failover-timeout": (_SERVICE, 6000),
        }
        if password:
            settings = {**settings, "sentinel auth-pass": (_SERVICE, password)}
        super().__init__(directory, Address("127.0.0.1", port), settings, binary=binary, password=password or None)

    def primary_port(self) -> int:
        """The port of the primary, as this sentinel tells it to clients."""
        reply = self.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", _SERVICE)
        if not isinstance(reply, list):
            raise ServerError(f"The sentinel on port {self.port} does not know {_SERVICE}: start it again.")
        return int(str(reply[1]))

    def is_settled(self) -> bool:
        """Whether it sees a healthy primary and a replica, and knows the other sentinels."""
        reply = self.command("SENTINEL", "MASTER", _SERVICE)
        fields = [str(field) for field in reply] if isinstance(reply, list) else []
        seen = dict(zip(fields[::2], fields[1::2], strict=True))
        others = seen.get("num-other-sentinels") == str(_SENTINELS - 1)
        return seen.get("flags") == "master" and seen.get("num-slaves") == "1" and others


class LocalSentinel(LocalTopology):
    """The service `mymaster`: two `servers`, at first a primary and its replica, and three `sentinels`.

    Their files are in a new folder in `directory`, which `stop` removes. The processes end with this one.
    """

    _name = "local Sentinel"

    def __init__(self, *, directory: Path | None = None) -> None:
        super().__init__(directory)
        self._password = new_password()
        self.servers: list[ServerProcess] = []
        self.sentinels: list[Sentinel] = []

    @property
    def url(self) -> str:
        """The URL for clients, which names all sentinels."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://:{self._password}@{hosts}/{_SERVICE}/0?sentinel_password={self._password}"

    def stop(self) -> None:
        """Kill all processes and remove their folder; may be called twice."""
        super().stop()
        self.servers, self.sentinels = [], []

    def primary(self) -> ServerProcess:
        """The server that the sentinels name as the primary."""
        for sentinel in self._answering():
            port = sentinel.primary_port()
            return next(server for server in self.servers if server.port == port)
        raise ServerError("No sentinel answers: restart one.")

    def replica(self) -> ServerProcess:
        """The server that the sentinels do not name as the primary."""
        primary = self.primary()
        return next(server for server in self.servers if server is not primary)

    def failover(self, timeout: float = _SETTLE_SECONDS) -> None:
        """Promote the replica; return when it is the primary and all sentinels that answer say so.

        The old primary follows it about ten seconds later; `wait_stable` waits for that too.
        """
        successor = self.replica()
        wait_until(self._accepts_failover, timeout=timeout, what="a sentinel accepts a failover")
        wait_until(lambda: self._has_promoted(successor), timeout=timeout, what="the sentinels have failed over")

    def wait_stable(self, timeout: float = _SETTLE_SECONDS) -> None:
        """Return when all sentinels that answer agree, and the replica is in sync with the primary."""
        wait_until(self._stable, timeout=timeout, what="the sentinels agree on a primary with a replica")

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

    def _has_promoted(self, server: ServerProcess) -> bool:
        try:
            named = {sentinel.primary_port() for sentinel in self._answering()}
            return named == {server.port} and server.role() == "primary"
        except ConnectionError:
            return False  # a sentinel closes the connections of a server that it reconfigures

    def _stable(self) -> bool:
        try:
            primary, replica = self.primary(), self.replica()
            return (
                primary.answering
                and self._has_promoted(primary)
                and all(sentinel.is_settled() for sentinel in self._answering())
                and replica.answering
                and replica.linked()
                and replica.info("replication")["master_port"] == str(primary.port)
            )
        except ConnectionError:
            return False

    def _processes(self) -> list[ServerProcess]:
        return [*self.sentinels, *self.servers]

    def _start_all(self, directory: Path) -> None:
        first, second, *sentinel_ports = free_ports(2 + _SENTINELS)
        self._launch_server(directory, first, {})
        self._launch_server(directory, second, {"replicaof": ("127.0.0.1", first)})
        for server in self.servers:
            server.wait_ready()
        # A sentinel looks for replicas at its start, then only every 10 s.
        wait_until(self.servers[1].linked, timeout=_SETTLE_SECONDS, what="the replica is in sync with its primary")
        for port in sentinel_ports:
            self.sentinels.append(Sentinel(directory / f"sentinel-{port}", port, first, self._password))
            self.sentinels[-1].start()

    def _launch_server(self, directory: Path, port: int, extra: Settings) -> None:
        settings: Settings = {
            "bind": "127.0.0.1",
            "port": port,
            "save": "",
            "appendonly": "yes",
            "repl-diskless-sync-delay": 0,
            "masterauth": self._password,
            **extra,
        }
        address = Address("127.0.0.1", port)
        self.servers.append(ServerProcess(directory / f"server-{port}", address, settings, password=self._password))
        self.servers[-1].launch()
