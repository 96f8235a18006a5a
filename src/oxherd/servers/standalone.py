"""One server for tests and development."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from oxherd.errors import ServerError
from oxherd.redis.url import Address
from oxherd.servers.ports import free_ports
from oxherd.servers.process import PortTaken, ServerProcess
from oxherd.servers.workdir import new_workdir, remove_workdir

_ATTEMPTS = 5  # at finding a port that nobody else takes in the meantime
_LONGEST_SOCKET = 100


class StandaloneServer(ServerProcess):
    """A server on `port` of 127.0.0.1 (default: a free one) or, with `unix`, on a Unix socket.

    It keeps its files in a new folder in `directory` (default: a temporary one), which `stop` removes. `binary` is
    another server than the bundled one, `settings` are more settings of its configuration (an ACL file, a TLS port,
    maxmemory), and `config` lines for it as they are.
    """

    def __init__(
        self,
        *,
        unix: bool = False,
        port: int | None = None,
        directory: Path | None = None,
        binary: Path | None = None,
        password: str | None = None,
        settings: Mapping[str, str | int | Path] | None = None,
        config: Sequence[str] = (),
    ) -> None:
        folder = new_workdir(directory)
        address = Address(path=str(folder / "s")) if unix else Address("127.0.0.1", port or free_ports(1)[0])
        if len(str(address)) > _LONGEST_SOCKET:
            raise ServerError(f"The path {address} is too long for a socket: give a shorter directory.")
        super().__init__(folder, address, {}, config=config, binary=binary, password=password)
        self._own_settings: Mapping[str, str | int | Path] = settings or {}
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
            place: dict[str, str | int] = {"port": 0, "unixsocket": self.address.path, "unixsocketperm": "600"}
        else:
            place = {"bind": "127.0.0.1", "port": self.port}
        self._settings = {**place, "save": "", **self._own_settings}
        super().begin()

    def start(self) -> None:
        """Start it and return when it accepts connections and has loaded its data."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                super().start()
            except PortTaken:
                if attempt == _ATTEMPTS or not self._any_port:
                    raise
                self.stop()
                self.address = Address("127.0.0.1", free_ports(1)[0])
            else:
                # Clients know it from now on.
                self._any_port = False
                return

    def stop(self) -> None:
        """End it and remove its folder; without effect if that is done."""
        super().stop()
        remove_workdir(self.directory)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
