"""One Valkey for each project folder, shared by all processes that use it, stopped when the last one leaves.

Whoever uses it starts it again when it has died.

Lock files in `<project>/.oxherd/`, empty and never removed:

    lock     held exclusively while the server is started or stopped
    users    held shared by every user
    keeper   held exclusively by the keeper process
    server   held exclusively by the server, which inherits it
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from oxherd.errors import ServerError
from oxherd.redis.blocking import command, ping
from oxherd.redis.url import Address
from oxherd.servers.binary import REMEDY, server_binary
from oxherd.servers.config import failure_reason, log_since, log_size, write_config
from oxherd.servers.keeper import KILLED
from oxherd.servers.local_server import LocalServer
from oxherd.servers.locks import exclusive, shared, try_exclusive
from oxherd.servers.polling import wait_for
from oxherd.servers.project import data_dir, project_dir, socket_path
from oxherd.servers.spawn import script_command, server_environment

_START_SECONDS = 10.0
_LOCK_SECONDS = 30.0  # for others that start or stop it: longer than a start, and than the keeper waits for a stop
_POLL_SECONDS = 0.002
_LOG_LIMIT = 1024 * 1024
_LAUNCHES = 3  # of a server that others kill while it is started, or end as soon as it is ready
_READY = "Ready to accept connections"
_RETRY_SECONDS = 2.0  # until a server that could not be started again is tried once more


class EmbeddedServer(LocalServer):
    """The server of `project` (default: the project of the current folder), used from `start` to `stop`.

    `start` launches the server unless another process has; the last `stop`, or end of a process, shuts it down. A
    forked process inherits the use: the server stays until both have stopped or ended. `socket` is its path.

    Raises:
        ServerError: the folder cannot be used, or its path is too long for a socket.
    """

    def __init__(self, project: Path | None = None) -> None:
        self.project = project_dir() if project is None else project.resolve()
        self.socket = socket_path(self.project)
        self._data = self.project / ".oxherd"
        self._log = self._data / "server.log"
        self._users: int | None = None
        self._use = threading.Lock()
        self._failed: tuple[float, ServerError] | None = None

    @property
    def url(self) -> str:
        """The URL for clients."""
        return f"unix://{quote(str(self.socket))}"

    def start(self) -> None:
        """Launch the server if none runs, and return when it has loaded its data.

        Raises:
            ServerError: the server does not start, or its folder cannot be used.
        """
        try:
            self._join(again=False)
        except BaseException:
            self.stop()
            raise

    def restart(self) -> None:
        """Launch the server again if it has died, and return when it has loaded its data.

        Raises:
            ServerError: as `start`; or `stop` was called.
        """
        failed = self._failed
        if failed is not None and time.monotonic() < failed[0]:
            raise ServerError(str(failed[1]))
        try:
            self._join(again=True)
        except ServerError as error:
            self._failed = (time.monotonic() + _RETRY_SECONDS, error)
            raise
        self._failed = None

    def stop(self) -> None:
        """Stop using the server, which shuts down soon after its last user; may be called twice."""
        with self._use:
            users, self._users = self._users, None
        if users is not None:
            # Closed rather than unlocked, which would also unlock it for a forked process.
            os.close(users)

    def _join(self, *, again: bool) -> None:
        data_dir(self.project)
        self.socket = socket_path(self.project)  # its link may have been removed
        try:
            for launches_left in reversed(range(_LAUNCHES)):
                with exclusive(self._data / "lock", seconds=_LOCK_SECONDS):
                    self._become_user(again=again)
                    offset = self._ensure_running()
                # Outside the lock: loading much data takes long, and others can wait for it as well.
                if self._wait_until_loaded():
                    return
                if launches_left == 0 or not _was_ended(log_since(self._log, offset)):
                    raise self._failure(offset)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ServerError(f"The embedded server in {self._data} cannot be used ({error}): {REMEDY}.") from error

    def _become_user(self, *, again: bool) -> None:
        # The keeper holds it for an instant when it checks whether any user is left.
        users = shared(self._data / "users", seconds=_LOCK_SECONDS)
        if users is None:
            raise ServerError(f"{self._data / 'users'} stays locked: end the process that holds it or {REMEDY}.")
        with self._use:
            stopped = again and self._users is None
            # What was held is another file if the folder was removed meanwhile.
            unused, self._users = (users, None) if stopped else (self._users, users)
        if unused is not None:
            os.close(unused)
        if stopped:
            raise ServerError(f"The embedded server in {self._data} was left by this process: start it first.")

    def _ensure_running(self) -> int:
        """Return once a server with a keeper answers, still loads or has ended; the log's size before that."""
        offset = log_size(self._log)
        started = False

        def answers() -> bool:
            nonlocal started
            keeper = try_exclusive(self._data / "keeper")
            if keeper is None:
                return ping(Address(path=str(self.socket))) != "down"
            try:
                if started:
                    return True  # it ended
                started = self._launch(keeper)
            finally:
                os.close(keeper)
            return False

        if wait_for(answers, timeout=_START_SECONDS, max_interval=_POLL_SECONDS):
            return offset
        raise ServerError(
            f"The embedded server in {self._data} did not answer within {_START_SECONDS:g} s "
            f"({failure_reason(log_since(self._log, offset))}): end the processes that use it or {REMEDY}."
        )

    def _launch(self, keeper: int) -> bool:
        """Start a keeper and its server; False while a server whose keeper was killed is still shutting down."""
        server = try_exclusive(self._data / "server")
        if server is None:
            # It cannot be adopted: only a parent can wait for it and be tied to its death. On Linux it is ending
            # already. Its other users reconnect to the new server, which has its data.
            self._shut_down()
            return False
        try:
            self._start_keeper(keeper, server)
        finally:
            os.close(server)
        return True

    def _shut_down(self) -> None:
        # It closes the connection instead of answering, or is gone already.
        with suppress(ConnectionError, FileNotFoundError, TimeoutError):
            command(Address(path=str(self.socket)), "SHUTDOWN")

    def _start_keeper(self, keeper: int, server: int) -> None:
        if log_size(self._log) > _LOG_LIMIT:
            os.truncate(self._log, 0)
        self._write_config()
        done = subprocess.run(
            [*script_command("keeper.py"), str(self._data), str(keeper), str(server), str(server_binary())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(keeper, server),
            env=server_environment(),
            start_new_session=True,
            timeout=_START_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise ServerError(f"{sys.executable or 'Python'} could not run the embedded server's keeper: {REMEDY}.")

    def _write_config(self) -> None:
        write_config(
            self._data / "server.conf",
            {
                "dir": self._data,
                "port": 0,
                # Relative to `dir`, so that it is never too long.
                "unixsocket": "valkey.sock",
                "unixsocketperm": "600",
                "daemonize": "no",
                # To standard output, which is the log and has what is written before this file is read.
                "logfile": "",
                "appendonly": "yes",
                "appendfsync": "everysec",
                "save": "",
                "maxmemory-policy": "noeviction",
            },
        )

    def _wait_until_loaded(self) -> bool:
        """Return True when the server has loaded its data, False when it has ended."""
        up = False

        def is_decided() -> bool:
            nonlocal up
            if ping(Address(path=str(self.socket)), timeout=_START_SECONDS) == "up":
                up = True
                return True
            keeper = try_exclusive(self._data / "keeper")
            if keeper is None:
                return False
            os.close(keeper)
            return True

        wait_for(is_decided, timeout=math.inf, max_interval=0.1)
        return up

    def _failure(self, offset: int) -> ServerError:
        logged = log_since(self._log, offset)
        reason = failure_reason(logged)
        if _was_ended(logged):
            when = "as soon as it is ready" if _READY in logged else "before it is ready"
            return ServerError(
                f"The embedded server in {self._data} ends {when} ({reason}): end what kills it, see {self._log}, or "
                f"{REMEDY}."
            )
        if "append only file" in logged or "AOF" in reason:
            remedy = f"move {self._data / 'appendonlydir'} away (the events in it are then gone) or {REMEDY}"
        else:
            remedy = f"see {self._log} or {REMEDY}"
        return ServerError(f"The embedded server in {self._data} did not start ({reason}): {remedy}.")


def _was_ended(logged: str) -> bool:
    """Whether others ended a server that could have run, as far as its log says."""
    return _READY in logged or KILLED in logged
