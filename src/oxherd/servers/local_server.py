"""The start and stop that every server here shares."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from oxherd.errors import ServerError
from oxherd.servers.ports import retry_on_taken_port
from oxherd.servers.process import ServerProcess


def new_workdir(parent: Path | None) -> Path:
    """The path of a new folder in `parent` or the temporary folder; the folder is not made yet."""
    return (parent or Path(tempfile.gettempdir())).resolve() / f"oxherd-{secrets.token_hex(6)}"


def remove_workdir(folder: Path) -> None:
    """Remove `folder` with its contents, if it exists."""
    if folder.exists():
        shutil.rmtree(folder)


def new_password() -> str:
    """A password for a server on a port, which every user of the machine can connect to."""
    return secrets.token_hex(16)


class LocalServer(ABC):
    """A server, or several, on this machine; a context manager starts and stops it."""

    @property
    @abstractmethod
    def url(self) -> str:
        """The URL for clients."""

    @abstractmethod
    def start(self) -> None:
        """Start it and return when it can be used."""

    @abstractmethod
    def stop(self) -> None:
        """Stop it and remove its temporary files; may be called twice."""

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


class LocalTopology(LocalServer):
    """Several server processes in a new folder in `parent` (default: the temporary folder)."""

    _name: ClassVar[str]

    def __init__(self, parent: Path | None) -> None:
        self._parent = parent
        self.directory: Path | None = None

    def start(self) -> None:
        """Start all processes and return when they agree with each other."""
        if self.directory is not None:
            raise ServerError(f"The {self._name} is already running: stop it first.")
        try:
            retry_on_taken_port(self._start_in_new_folder, self.stop)
            self.wait_stable()
        except OSError as error:
            self.stop()
            raise ServerError(f"The {self._name} could not start ({error}): fix that and try again.") from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill all processes and remove their folder; may be called twice."""
        for process in self._processes():
            process.kill()
        if self.directory is not None:
            remove_workdir(self.directory)
            self.directory = None

    def _start_in_new_folder(self) -> None:
        self.directory = new_workdir(self._parent)
        self.directory.mkdir(mode=0o700, parents=True)
        self._start_all(self.directory)

    @abstractmethod
    def wait_stable(self) -> None:
        """Return when the processes that answer agree with each other."""

    @abstractmethod
    def _start_all(self, directory: Path) -> None:
        """Start the processes on free ports and connect them."""

    @abstractmethod
    def _processes(self) -> Iterable[ServerProcess]:
        """Every process that was started."""
