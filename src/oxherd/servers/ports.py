"""Free ports on the loopback interface."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable

from oxherd.errors import ServerError

# Below the ephemeral ports of Linux and macOS, so that no outgoing connection takes the port of a stopped server.
_RANGE = range(20000, 32768)
_ATTEMPTS = 5


class PortTaken(ServerError):
    """Another process listens on a port that a server was to have."""


def free_ports(count: int) -> list[int]:
    """`count` different ports of 127.0.0.1 on which nothing listens now."""
    found: list[int] = []
    for port in random.sample(_RANGE, len(_RANGE)):
        if len(found) == count:
            return found
        if _is_free(port):
            found.append(port)
    raise ServerError(f"Fewer than {count} ports from {_RANGE.start} on are free on 127.0.0.1: free some.")


def retry_on_taken_port(start: Callable[[], None], undo: Callable[[], None]) -> None:
    """Call `start`; after PortTaken call `undo`, and `start` again with other ports."""
    for _ in range(_ATTEMPTS - 1):
        try:
            start()
        except PortTaken:
            undo()
        else:
            return
    start()


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
