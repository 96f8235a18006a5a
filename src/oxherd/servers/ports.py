"""Free ports on the loopback interface."""

from __future__ import annotations

import random
import socket

from oxherd.errors import ServerError

# Below the range from which Linux and macOS take the ports of outgoing connections, so that none of these takes the
# port of a server while it is down.
_RANGE = range(20000, 32768)


def free_ports(count: int) -> list[int]:
    """`count` different ports on 127.0.0.1 on which nothing listens now."""
    found: list[int] = []
    for port in random.sample(_RANGE, len(_RANGE)):
        if len(found) == count:
            return found
        if _is_free(port):
            found.append(port)
    raise ServerError(f"Fewer than {count} ports from {_RANGE.start} are free on 127.0.0.1: end what listens there.")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
