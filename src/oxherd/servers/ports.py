"""Free ports on the loopback interface."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable

from oxherd.errors import ServerError

# Below the range from which Linux and macOS take the ports of outgoing connections, so that none of these takes the
# port of a server while it is down.
_RANGE = range(20000, 32768)
_ATTEMPTS = 5  # at starting on ports that nobody else takes in the meantime


class PortTaken(ServerError):
    """Somebody else listens on a port that a server was to have."""


def free_ports(count: int) -> list[int]:
    """`count` different ports on 127.0.0.1 on which nothing listens now."""
    found: list[int] = []
    for port in random.sample(_RANGE, len(_RANGE)):
        if len(found) == count:
            return found
        if _is_free(port):
            found.append(port)
    raise ServerError(f"Fewer than {count} ports from {_RANGE.start} are free on 127.0.0.1: end what listens there.")


def on_free_ports(start: Callable[[], None], undo: Callable[[], None]) -> None:
    """Call `start`, which finds free ports, until nobody else has taken one of them meanwhile; `undo` in between."""
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
