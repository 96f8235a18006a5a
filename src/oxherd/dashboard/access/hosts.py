"""Which Host a request may name (RFC 9110, 7.2): a page of another site that resolves to our address names its own."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.requests import Request

from oxherd.errors import ConfigError
from oxherd.telemetry.http.endpoint import is_loopback

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
# A sign that a proxy has passed a request on, whose peer then says nothing of who asks.
_PROXY_HEADERS = ("forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip")
_PROXY_PREFIX = "x-forwarded-"


class Hosts:
    """Names with a port, or without one for any port."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(map(_checked, names))

    def allows(self, request: Request) -> bool:
        """Whether a request names one of them, and only one."""
        named = request.headers.getlist("host")
        if len(named) != 1:
            return False
        host = named[0].lower()
        return host in self._names or _without_port(host) in self._names


def comes_from_here(request: Request) -> bool:
    """Whether a request comes from this machine, by no proxy that could hide where it comes from."""
    peer = request.client
    return (
        peer is not None
        and is_loopback(peer.host)
        and request.scope.get("http_version") != "1.0"  # as proxies speak to what is behind them
        and not any(name in _PROXY_HEADERS or name.startswith(_PROXY_PREFIX) for name in request.headers)
        and Hosts(LOOPBACK).allows(request)
    )


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isascii() and port.isdigit() else host


def _checked(name: str) -> str:
    plain = isinstance(name, str) and name.isascii() and name.isprintable()  # pyright: ignore[reportUnnecessaryIsInstance]
    if not plain or not name or any(sign in name for sign in "/@ *"):
        raise ConfigError("An allowed host is a name as a browser's address has it, such as queues.example.com.")
    return name.lower()
