"""What servers of ours for tests, drills and development have in common: a folder, a start and a stop."""

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
from oxherd.servers.ports import on_free_ports
from oxherd.servers.process import ServerProcess


def new_workdir(parent: Path | None) -> Path:
    """A name for a new folder, in `parent` or the temporary folder; whoever starts a server there makes it."""
    return (parent or Path(tempfile.gettempdir())).resolve() / f"oxherd-{secrets.token_hex(6)}"


def remove_workdir(folder: Path) -> None:
    """Remove it with all that is in it; without effect if it has gone."""
    if folder.exists():
        shutil.rmtree(folder)


class Startable(ABC):
    """Started and stopped; as a context manager, both."""

    @abstractmethod
    def start(self) -> None:
        """Start it and return when it can be used."""

    @abstractmethod
    def stop(self) -> None:
        """End it for good and remove its folder; without effect if that is done."""

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


class LocalServers(Startable):
    """Several servers on this machine, in a new folder in `parent` (default: a temporary one)."""

    _name: ClassVar[str]

    def __init__(self, parent: Path | None) -> None:
        self._parent = parent
        self.directory: Path | None = None

    def start(self) -> None:
        """Start them all and return when they agree."""
        if self.directory is not None:
            raise ServerError(f"The {self._name} runs already: stop it first.")
        try:
            on_free_ports(self._start_in_new_folder, self.stop)
            self.wait_stable()
        except OSError as error:
            self.stop()
            raise ServerError(f"The {self._name} could not be started ({error}): see to that and try again.") from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill them all and remove their folder; without effect if there are none."""
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
        """Return when those that answer agree."""

    @abstractmethod
    def _start_all(self, directory: Path) -> None:
        """Start them on free ports and acquaint them."""

    @abstractmethod
    def _processes(self) -> Iterable[ServerProcess]:
        """All that were started."""
