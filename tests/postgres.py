"""A PostgreSQL server for tests, of the machine's own package."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

import psycopg

from oxherd.servers.ports import free_ports
from tests.harness import until_sync

# Where Debian has it; elsewhere it is on the PATH.
_DEBIAN = "/usr/lib/postgresql"
_OWNER = "postgres"  # it refuses to run as root
_SETTINGS = ("fsync=off", "max_connections=200", "listen_addresses=127.0.0.1", "log_min_messages=panic")


def postgres_binaries() -> Path | None:
    """The folder of the newest `initdb` and `postgres`, or None."""
    folders = sorted(Path(_DEBIAN).glob("*/bin"), key=lambda folder: -int(folder.parent.name))
    found = shutil.which("initdb")
    if found is not None:
        folders.append(Path(found).resolve().parent)
    return next((each for each in folders if (each / "initdb").exists() and (each / "postgres").exists()), None)


class PostgresServer:
    """A server on a free port of 127.0.0.1, with its data in a new folder, which the end removes.

    Everybody on the machine is its superuser `postgres`, without a password. It dies with the process that started it.
    """

    user = "postgres"
    host = "127.0.0.1"

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self._folder = Path(tempfile.mkdtemp(prefix="oxherd-pg-"))
        # As root, who gives the processes to the package's own user.
        self._owner = _OWNER if os.getuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_ports(1)[0]

    def __enter__(self) -> Self:
        try:
            if self._owner is not None:
                shutil.chown(self._folder, self._owner)
            self._initialise()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def dsn(self, database: str = "postgres") -> str:
        """The URL of a database, as psycopg takes it; for SQLAlchemy `postgresql+psycopg://` stands before the rest."""
        return f"postgresql://{self.user}@{self.host}:{self.port}/{database}"

    def create_database(self) -> str:
        """The name of a new, empty database."""
        name = f"t{uuid4().hex[:12]}"
        self.execute(f"create database {name}")
        return name

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Run a statement outside any transaction; its rows, if it has some."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return [] if cursor.description is None else cursor.fetchall()

    def terminate_connections(self) -> int:
        """End every other connection, as an administrator does; how many there were."""
        ended = self.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where pid <> pg_backend_pid() and backend_type = 'client backend'"
        )
        return len(ended)

    def start(self) -> None:
        """Start it, on the same port and with the same data as before, and return when it can be used."""
        options = [option for setting in _SETTINGS for option in ("-c", setting)]
        command = [str(self._binaries / "postgres"), "-D", str(self._data), "-p", str(self.port), "-k", "", *options]
        if setpriv := shutil.which("setpriv"):
            command = [setpriv, "--pdeathsig", "QUIT", *command]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._owner,
                group=self._owner,
                extra_groups=None if self._owner is None else [],
            )
        until_sync(self._is_ready, deadline=60)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Stop it; SIGINT ends its connections and keeps the data, SIGQUIT is a crash. May be called twice."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(60)
            self._process = None

    def restart(self) -> None:
        """Stop it, which ends its connections, and start it again."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop it and remove its folder."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._folder)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _initialise(self) -> None:
        command = [str(self._binaries / "initdb"), "-D", str(self._data), "-U", self.user, "--auth=trust", "--no-sync"]
        subprocess.run(
            [*command, "--encoding=UTF8", "--no-instructions"],
            cwd=self._folder,
            check=True,
            stdout=subprocess.DEVNULL,
            user=self._owner,
            group=self._owner,
            extra_groups=None if self._owner is None else [],
        )

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"PostgreSQL did not start: {(self._folder / 'log').read_text()[-2000:]}")
        try:
            psycopg.connect(self.dsn()).close()
        except psycopg.OperationalError:
            return False
        return True
