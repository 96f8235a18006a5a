"""One server process with its folder and configuration."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import ClassVar, Literal

from oxherd.errors import ServerError
from oxherd.redis.blocking import Reply, command
from oxherd.redis.url import Address
from oxherd.servers.binary import server_binary
from oxherd.servers.config import Settings, failure_reason, log_since, log_size, write_config
from oxherd.servers.polling import wait_for
from oxherd.servers.ports import PortTaken
from oxherd.servers.spawn import spawn

_START_SECONDS = 20.0  # several start at once on few cores


class ServerProcess:
    """A server in `directory` with `settings`, which must leave the log level alone: readiness is read from the log.

    It dies with this process (on Linux also when this process is killed). Times are in seconds.
    """

    # Before Redis 7.2 "The server is now ready to accept connections at" on a Unix socket, else "Ready to ...".
    _ready_mark: ClassVar[str] = "eady to accept connections"
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
        self.password = password
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
        """The process id, also after the process has ended."""
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
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start it and return at once; `wait_ready` waits for it."""
        if self.running:
            raise ServerError(f"{self._label()} is already running: stop it first.")
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self.directory / "server.conf"
        if not file.exists():
            # Only once: a server may rewrite it (CONFIG REWRITE, and every Sentinel).
            self._configure(file)
        self._offset = log_size(self.log)
        self._paused = False
        self._process = spawn([str(self.binary), str(file), *self._arguments], self.log)

    def wait_ready(self, timeout: float = _START_SECONDS) -> None:
        """Return when its log says that it is ready; on its port another process might answer."""
        if not wait_for(self._is_ready, timeout=timeout):
            reason = failure_reason(self._logged())
            self.kill()
            raise ServerError(f"{self._label()} was not ready within {timeout:g} s ({reason}): try again.")

    def stop(self) -> None:
        """Stop it with SIGTERM, or SIGKILL where that fails; may be called twice."""
        if self.running:
            self.resume()
            try:
                self.terminate()
            except ServerError:
                self.kill()

    def kill(self) -> None:
        """Send SIGKILL and wait for its end; may be called twice."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def terminate(self, timeout: float = 15.0) -> None:
        """Send SIGTERM and wait for its end, its data kept; ServerError if it still runs after `timeout`."""
        self._started().terminate()
        try:
            self._started().wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise ServerError(f"{self._label()} still runs {timeout:g} s after SIGTERM: kill it.") from error

    def pause(self) -> None:
        """Send SIGSTOP: it keeps its connections but answers nothing."""
        self._paused = True
        self._started().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Send SIGCONT, after `pause`."""
        self._started().send_signal(signal.SIGCONT)
        self._paused = False

    def restart(self) -> None:
        """Terminate it if it runs, and start it again with the same port, configuration and data."""
        if self.running:
            self.resume()
            self.terminate()
        self.start()

    def command(self, *arguments: str | bytes | int, timeout: float = 5.0) -> Reply:
        """Run one command on a new connection, with the password if there is one."""
        return command(self.address, *arguments, password=self.password, timeout=timeout)

    def text(self, *arguments: str | bytes | int) -> str:
        """Run one command whose reply is text."""
        reply = self.command(*arguments)
        if not isinstance(reply, str):
            raise ServerError(f"{self._label()} did not answer {arguments[0]!r} with text: check the command.")
        return reply

    def info(self, section: str) -> dict[str, str]:
        """A section of INFO as a dictionary."""
        try:
            text = self.text("INFO", section)
        except (ConnectionResetError, BrokenPipeError):
            # A Sentinel that changes a server's role closes its connections (CLIENT KILL TYPE normal).
            text = self.text("INFO", section)
        pairs = (line.partition(":") for line in text.splitlines())
        return {name: value for name, colon, value in pairs if colon}

    def role(self) -> Literal["primary", "replica"]:
        """Its role now, as it reports it."""
        return "primary" if self.info("replication")["role"] == "master" else "replica"

    def linked(self) -> bool:
        """Whether it is a replica in sync with its primary."""
        return self.info("replication").get("master_link_status") == "up"

    def _is_ready(self) -> bool:
        if self._ready_mark in self._logged():
            return True
        if not self.running:
            kind = PortTaken if "Address already in use" in self._logged() else ServerError
            raise kind(f"{self._label()} did not start ({failure_reason(self._logged())}): check its configuration.")
        return False

    def _configure(self, file: Path) -> None:
        # The password is in the file, since every user of the machine can read a command line.
        password = {} if self.password is None else {"requirepass": self.password}
        write_config(file, {"dir": self.directory, "logfile": "", "daemonize": "no", **password, **self._settings})

    def _logged(self) -> str:
        return log_since(self.log, self._offset)

    def _label(self) -> str:
        return f"The server in {self.directory}"

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServerError(f"{self._label()} was never started: call start().")
        return self._process
