"""One Valkey for each project folder, shared by every process that joins, gone when the last one is.

Files in `<project>/.oxherd/`, all but the data empty and never removed:

    lock     held exclusively while the server is being started or stopped
    users    held shared by every user, for as long as it is one
    keeper   held exclusively by the keeper process
    server   held exclusively by the server, which inherits it
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from oxherd.errors import ServerError
from oxherd.redis.blocking import command, ping
from oxherd.redis.url import Address
from oxherd.servers.binary import server_binary
from oxherd.servers.config import complaint, log_since, log_size, write_config
from oxherd.servers.locks import exclusive, shared, try_exclusive
from oxherd.servers.polling import holds
from oxherd.servers.project import data_dir, project_dir, socket_path
from oxherd.servers.spawn import script_command, server_environment

_REMEDY = "set OXHERD_URL to a server of your own"
_START = 10.0  # seconds for a server to answer
_TURN = 30.0  # seconds to wait for others that start or stop it: more than a start, and than the keeper's patience
_POLL = 0.002
_LOG_LIMIT = 1024 * 1024


class EmbeddedServer:
    """This process's share in the project's server, from `join` to `leave`, or to the end of the process.

    `url` is what a client connects to, `socket` the same as a path, `project` the folder. A process forked from this
    one has a copy of the share: the server stays until both have left or ended.
    """

    def __init__(self, project: Path, socket: Path, users: int) -> None:
        self.project = project
        self.socket = socket
        self.url = f"unix://{quote(str(socket))}"
        self._users: int | None = users

    @classmethod
    def join(cls, project: Path | None = None) -> EmbeddedServer:
        """Start the server of `project` (default: the one around the current folder) if none runs, and share in it."""
        folder = project_dir() if project is None else project.resolve()
        data = data_dir(folder)
        try:
            socket = socket_path(folder)
            users = _enter(data, socket)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ServerError(f"The embedded server in {data} cannot be used ({error}): {_REMEDY}.") from error
        return cls(folder, socket, users)

    def leave(self) -> None:
        """Give up the share; the server stops soon after the last one. Leaving twice is allowed."""
        users, self._users = self._users, None
        if users is not None:
            # Closed and not unlocked: unlocking would also take it from a forked process.
            os.close(users)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()


def _enter(data: Path, socket: Path) -> int:
    with exclusive(data / "lock", seconds=_TURN):
        # The keeper holds it for an instant when it looks whether anybody is left.
        users = shared(data / "users", seconds=_TURN)
        if users is None:
            raise ServerError(f"{data / 'users'} stays locked: end the process that holds it or {_REMEDY}.")
        try:
            offset = _ensure_running(data, socket)
        except BaseException:
            os.close(users)
            raise
    # Out of the lock: loading much data may take long, and others can wait for it just as well.
    try:
        _wait_until_loaded(data, socket, offset)
    except BaseException:
        os.close(users)
        raise
    return users


def _ensure_running(data: Path, socket: Path) -> int:
    """Return once a server with a keeper answers, even if it is still loading; the log's offset where it began."""
    offset = log_size(data / "server.log")
    started = False

    def answers() -> bool:
        nonlocal started
        keeper = try_exclusive(data / "keeper")
        if keeper is None:
            return ping(Address(path=str(socket))) != "down"
        try:
            if started:
                raise _failure(data, offset)
            started = _replace(data, socket, keeper)
        finally:
            os.close(keeper)
        return False

    if holds(answers, seconds=_START, longest=_POLL):
        return offset
    raise ServerError(
        f"The embedded server in {data} did not answer within {_START:g} s "
        f"({complaint(log_since(data / 'server.log', offset))}): end the processes that use it or {_REMEDY}."
    )


def _replace(data: Path, socket: Path, keeper: int) -> bool:
    """Start a keeper and with it a server, unless one without a keeper is still to go."""
    server = try_exclusive(data / "server")
    if server is None:
        # Its keeper was killed. It is not adopted, since only a parent can wait for it and be tied to its death; on
        # Linux it is ending by itself already. Its other users reconnect to the new server, which has its data.
        _shut_down(socket)
        return False
    try:
        _start_keeper(data, keeper, server)
    finally:
        os.close(server)
    return True


def _shut_down(socket: Path) -> None:
    # It closes the connection instead of answering, or has gone before.
    with suppress(ConnectionError, FileNotFoundError, TimeoutError):
        command(Address(path=str(socket)), "SHUTDOWN")


def _start_keeper(data: Path, keeper: int, server: int) -> None:
    log = data / "server.log"
    if log_size(log) > _LOG_LIMIT:
        os.truncate(log, 0)
    _write_config(data)
    done = subprocess.run(
        [*script_command("keeper.py"), str(data), str(keeper), str(server), str(server_binary())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(keeper, server),
        env=server_environment(),
        start_new_session=True,
        timeout=_START,
        check=False,
    )
    if done.returncode != 0:
        raise ServerError(f"{sys.executable or 'Python'} could not run the embedded server's keeper: {_REMEDY}.")


def _write_config(data: Path) -> None:
    write_config(
        data / "server.conf",
        {
            "dir": data,
            "port": 0,
            # Relative to `dir`, and so never too long.
            "unixsocket": "valkey.sock",
            "unixsocketperm": "600",
            "daemonize": "no",
            # To standard output, which is the log, as is what it says before it has read this file.
            "logfile": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
        },
    )


def _wait_until_loaded(data: Path, socket: Path, offset: int) -> None:
    def is_up() -> bool:
        if ping(Address(path=str(socket)), timeout=_START) == "up":
            return True
        keeper = try_exclusive(data / "keeper")
        if keeper is not None:
            os.close(keeper)
            raise _failure(data, offset)
        return False

    holds(is_up, seconds=math.inf, longest=0.1)


def _failure(data: Path, offset: int) -> ServerError:
    logged = log_since(data / "server.log", offset)
    if "append only file" in logged or "AOF" in complaint(logged):
        remedy = f"move {data / 'appendonlydir'} away (the events in it are then gone) or {_REMEDY}"
    else:
        remedy = f"see {data / 'server.log'} or {_REMEDY}"
    return ServerError(f"The embedded server in {data} did not start ({complaint(logged)}): {remedy}.")
