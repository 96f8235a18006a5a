"""One server for tests and development."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from oxherd.errors import ServerError
from oxherd.redis.url import Address
from oxherd.servers.config import Settings
from oxherd.servers.local_server import LocalServer, new_password, new_workdir, remove_workdir
from oxherd.servers.ports import free_ports, retry_on_taken_port
from oxherd.servers.process import ServerProcess
from oxherd.servers.project import LONGEST_SOCKET


class StandaloneServer(ServerProcess, LocalServer):
    """A server on `port` of 127.0.0.1 (default: a free port) or, with `unix`, on a Unix socket.

    Its files are in a new folder in `directory` (default: the temporary folder), which `stop` removes. `binary`
    replaces the bundled server; `settings` adds to its configuration (an ACL file, a TLS port). On a port it has a
    random password unless one is given; "" is none.
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
        if password is None and not unix:
            password = new_password()
        super().__init__(folder, address, {}, binary=binary, password=password or None)
        self._extra: Settings = settings or {}
        self._any_port = not unix and port is None

    @property
    def url(self) -> str:
        """The URL for clients."""
        secret = "" if self.password is None else f":{quote(self.password, safe='')}@"
        if self.address.path:
            return f"unix://{secret}{quote(self.address.path)}"
        return f"redis://{secret}127.0.0.1:{self.port}/0"

    def launch(self) -> None:
        """Start it and return at once; `wait_ready` waits for it."""
        if self.address.path:
            where: Settings = {"port": 0, "unixsocket": self.address.path, "unixsocketperm": "600"}
        else:
            where = {"bind": "127.0.0.1", "port": self.port}
        self._settings = {**where, "save": "", **self._extra}
        super().launch()

    def start(self) -> None:
        """Start it and return when it accepts connections and has loaded its data."""
        if self._any_port:
            retry_on_taken_port(super().start, self._change_port)
            # Clients know the port from now on.
            self._any_port = False
        else:
            super().start()

    def stop(self) -> None:
        """Stop it and remove its folder; may be called twice."""
        super().stop()
        remove_workdir(self.directory)

    def _change_port(self) -> None:
        self.stop()
        self.address = Address("127.0.0.1", free_ports(1)[0])
