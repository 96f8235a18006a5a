"""One server process of ours: its folder and configuration, from start to stop."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import ClassVar, Literal

from oxherd.errors import ServerError
from oxherd.redis.blocking import Reply, command
from oxherd.redis.url import Address
from oxherd.servers.binary import server_binary
from oxherd.servers.config import Settings, complaint, log_since, log_size, write_config
from oxherd.servers.polling import holds
from oxherd.servers.ports import PortTaken
from oxherd.servers.spawn import spawn

_START = 20.0  # seconds; several start at once on few cores


class ServerProcess:
    """A server that runs in `directory` with `settings` (its log level must stay).

    It dies with this process (on Linux, also when this is killed). Times are in seconds.
    """

    _ready_mark: ClassVar[str] = "Ready to accept connections"
    _arguments: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        directory: Path,
        address: Address,
        settings: Settings,
        *,
        binary: Path | None = None,
        password: str | None = None,
    ) -> None:
        self.directory = directory
        self.address = address
        self.binary = binary or server_binary()
        self.log = directory / "server.log"
        self._password = password
        self._offset = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False
        self._settings = settings

    @property
    def port(self) -> int:
        """The TCP port; 0 on a Unix socket."""
        return self.address.port

    @property
    def pid(self) -> int:
        """The process id, also after its end."""
        return self._started().pid

    @property
    def running(self) -> bool:
        """Whether the process is alive, paused or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def answering(self) -> bool:
        """Whether the process is alive and not paused."""
        return self.running and not self._paused

    def start(self) -> None:
        """Start it and return when it accepts connections and has loaded its data."""
        self.begin()
        self.wait_ready()

    def begin(self) -> None:
        """Start it and return at once; `wait_ready` does the rest."""
        if self.running:
            raise ServerError(f"The server in {self.directory} runs already: stop it first.")
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self.directory / "server.conf"
        if not file.exists():
            # Only once, since a server may rewrite it (CONFIG REWRITE, and every Sentinel).
            self._configure(file)
        self._offset = log_size(self.log)
        self._paused = False
        self._process = spawn([str(self.binary), str(file), *self._arguments], self.log)

    def wait_ready(self, timeout: float = _START) -> None:
        """Return when this process says so in its log: on its port somebody else might answer."""
        if not holds(self._is_ready, seconds=timeout):
            said = complaint(self._logged())
            self.kill()
            raise ServerError(f"{self._what()} was not ready within {timeout:g} s ({said}): try again.")

    def stop(self) -> None:
        """End it for good; without effect if it does not run."""
        self.end()

    def end(self, timeout: float = 15.0) -> None:
        """End it cleanly, or with SIGKILL after `timeout`, such that `start` goes on with its data."""
        if self.running:
            self.resume()
            try:
                self.terminate(timeout)
            except ServerError:
                self.kill()

    def kill(self) -> None:
        """SIGKILL, and wait for the end; without effect if it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def terminate(self, timeout: float = 15.0) -> None:
        """SIGTERM, and wait for the end; a ServerError if it still runs after `timeout`."""
        self._started().terminate()
        try:
            self._started().wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise ServerError(f"{self._what()} runs {timeout:g} s after SIGTERM: resume or kill it.") from error

    def pause(self) -> None:
        """SIGSTOP: it keeps its connections and answers nothing."""
        self._paused = True
        self._started().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: the end of a `pause`."""
        self._started().send_signal(signal.SIGCONT)
        self._paused = False

    def restart(self) -> None:
        """End it if it runs, and start it again with the same port, configuration and data."""
        self.end()
        self.start()

    def command(self, *arguments: str | bytes | int, timeout: float = 5.0) -> Reply:
        """Run one command on a new connection, authenticated if there is a password."""
        return command(self.address, *arguments, password=self._password, timeout=timeout)

    def text(self, *arguments: str | bytes | int) -> str:
        """Run one command that answers with text."""
        reply = self.command(*arguments)
        if not isinstance(reply, str):
            raise ServerError(f"{self._what()} did not answer {arguments[0]!r} with text: check the command.")
        return reply

    def info(self, section: str) -> dict[str, str]:
        """A section of INFO as a dictionary."""
        try:
            text = self.text("INFO", section)
        except (ConnectionResetError, BrokenPipeError):
            # A Sentinel that makes a server the primary, or a replica, closes its connections: CLIENT KILL TYPE normal.
            text = self.text("INFO", section)
        pairs = (line.partition(":") for line in text.splitlines())
        return {name: value for name, colon, value in pairs if colon}

    def role(self) -> Literal["primary", "replica"]:
        """What it is now, by its own word."""
        return "primary" if self.info("replication")["role"] == "master" else "replica"

    def linked(self) -> bool:
        """Whether it is a replica that is connected to its primary and in step with it."""
        return self.info("replication").get("master_link_status") == "up"

    def _is_ready(self) -> bool:
        if self._ready_mark in self._logged():
            return True
        if not self.running:
            kind = PortTaken if "Address already in use" in self._logged() else ServerError
            raise kind(f"{self._what()} did not start ({complaint(self._logged())}): check its configuration.")
        return False

    def _configure(self, file: Path) -> None:
        # The password in a file, since every user of the machine can read a command line.
        password = {} if self._password is None else {"requirepass": self._password}
        write_config(file, {"dir": self.directory, "logfile": "", "daemonize": "no", **password, **self._settings})

    def _logged(self) -> str:
        return log_since(self.log, self._offset)

    def _what(self) -> str:
        return f"The server in {self.directory}"

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServerError(f"{self._what()} was never started: call start().")
        return self._process
