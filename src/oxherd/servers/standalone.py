"""One server for tests and development."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from oxherd.errors import ServerError
from oxherd.redis.url import Address
from oxherd.servers.config import Settings
from oxherd.servers.local import Startable, new_workdir, remove_workdir
from oxherd.servers.ports import free_ports, on_free_ports
from oxherd.servers.process import ServerProcess
from oxherd.servers.project import LONGEST_SOCKET


class StandaloneServer(ServerProcess, Startable):
    """A server on `port` of 127.0.0.1 (default: a free one) or, with `unix`, on a Unix socket.

    It keeps its files in a new folder in `directory` (default: a temporary one), which `stop` removes. `binary` is
    another server than the bundled one, and `settings` are more of its configuration (an ACL file, a TLS port).
    """

    def __init__(
        self,
        *,
        unix: bool = False,
        port: int | None = None,
        directory: Path | None = None,
        binary: Path | None = None,
        password: str | None = None,
        settings: Settings | None = None,
    ) -> None:
        folder = new_workdir(directory)
        address = Address(path=str(folder / "s")) if unix else Address("127.0.0.1", port or free_ports(1)[0])
        if len(str(address)) > LONGEST_SOCKET:
            raise ServerError(f"The path {address} is too long for a socket: give a shorter directory.")
        super().__init__(folder, address, {}, binary=binary, password=password)
        self._more: Settings = settings or {}
        self._any_port = not unix and port is None

    @property
    def url(self) -> str:
        """What a client connects to."""
        secret = "" if self._password is None else f":{quote(self._password, safe='')}@"
        if self.address.path:
            return f"unix://{secret}{quote(self.address.path)}"
        return f"redis://{secret}127.0.0.1:{self.port}/0"

    def begin(self) -> None:
        """Start it and return at once; `wait_ready` does the rest."""
        if self.address.path:
            where: Settings = {"port": 0, "unixsocket": self.address.path, "unixsocketperm": "600"}
        else:
            where = {"bind": "127.0.0.1", "port": self.port}
        self._settings = {**where, "save": "", **self._more}
        super().begin()

    def start(self) -> None:
        """Start it and return when it accepts connections and has loaded its data."""
        if self._any_port:
            on_free_ports(super().start, self._change_port)
            # Clients know it from now on.
            self._any_port = False
        else:
            super().start()

    def stop(self) -> None:
        """End it and remove its folder; without effect if that is done."""
        super().stop()
        remove_workdir(self.directory)

    def _change_port(self) -> None:
        self.stop()
        self.address = Address("127.0.0.1", free_ports(1)[0])
