"""Serves `/live`, `/ready` and `/metrics` over HTTP, from threads of its own, since the event loop may be blocked."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import LineTooLong
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from socketserver import TCPServer
from typing import Any, BinaryIO, Protocol

from oxherd.errors import ConfigError, ServerError

_HEAD_SECONDS = 1.0
_RESPONSE_SECONDS = 5.0
_MAX_CONNECTIONS = 16
# Of a request line and its headers; http.server alone would take 6 MB of each connection.
_MAX_HEAD_BYTES = 128 * 1024
_POLL_SECONDS = 0.05


class Source(Protocol):
    """What the endpoint asks, from its own threads."""

    def health(self) -> dict[str, Any]:
        """The fields of `Health`, as JSON."""
        ...

    def metrics(self) -> tuple[str, bytes] | None:
        """The content type and the text for Prometheus; None without prometheus_client."""
        ...


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; port 0 picks a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str, option: str = "--health") -> Address:
    """Parse an option's HOST:PORT, for IPv6 as `[::1]:8081`; raises ConfigError."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    plain = host.isascii() and host.isprintable() and " " not in host and bracketed == (":" in host)
    if not (colon and host and plain and port.isascii() and port.isdigit() and int(port) < 65536):
        raise ConfigError(f"{option} takes HOST:PORT, such as 127.0.0.1:8081, or [::1]:8081 for IPv6.")
    return Address(host, int(port))


def is_loopback(host: str) -> bool:
    """Whether a host is this machine's own, by its name or an address."""
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@contextmanager
def serving(address: Address, source: Source) -> Generator[Address]:
    """Serve at an address meanwhile; yields the address with the actual port.

    Raises:
        ServerError: nothing can listen there.
    """
    try:
        server = _Server(address, source)
    except OSError as error:
        why = (error.strerror or type(error).__name__).lower()
        raise ServerError(f"Nothing can listen at {address} ({why}); give --health another address.") from None
    thread = threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), name="oxherd-health", daemon=True)
    thread.start()
    try:
        yield Address(address.host, int(server.server_address[1]))
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # a burst of connections must not make the kernel drop a probe's

    def __init__(self, address: Address, source: Source) -> None:
        self.source = source
        # Open connections with their deadlines, oldest first: those whose head has not come, and those being answered.
        self._silent: dict[socket.socket, float] = {}
        self._answered: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        self.address_family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        super().__init__((address.host, address.port), _Request)

    def server_bind(self) -> None:
        # HTTPServer's own looks the host's name up, which may block.
        TCPServer.server_bind(self)

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002
        with self._lock:
            if len(self._silent) + len(self._answered) >= _MAX_CONNECTIONS:
                # No number of clients that say nothing, or read nothing, may keep a probe waiting.
                self._cut(next(iter(self._silent or self._answered)))
            self._silent[request] = time.monotonic() + _HEAD_SECONDS
        return True

    def service_actions(self) -> None:
        """Cut off clients that are late; `serve_forever` calls this at each poll."""
        now = time.monotonic()
        with self._lock:
            for deadlines in (self._silent, self._answered):
                for late in [each for each, until in deadlines.items() if until <= now]:
                    self._cut(late)

    def head_came(self, request: socket.socket) -> None:
        """Give a request whose head has come the time of an answer."""
        with self._lock:
            if self._silent.pop(request, None) is not None:
                self._answered[request] = time.monotonic() + _RESPONSE_SECONDS

    def close_request(self, request: Any) -> None:
        with self._lock:
            self._forget(request)
        super().close_request(request)

    def _forget(self, connection: socket.socket) -> None:
        self._silent.pop(connection, None)
        self._answered.pop(connection, None)

    def _cut(self, connection: socket.socket) -> None:
        """Wake the thread that waits for the client; it then closes the connection."""
        self._forget(connection)
        with suppress(OSError):  # the client is gone already
            connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect."""


class _Head:
    """The lines of a request's head, up to a number of bytes."""

    def __init__(self, lines: BinaryIO) -> None:
        self._lines = lines
        self._left = _MAX_HEAD_BYTES

    def readline(self, limit: int) -> bytes:
        line = self._lines.readline(min(limit, self._left + 1))
        self._left -= len(line)
        if self._left < 0:
            raise LineTooLong("head")
        return line

    def close(self) -> None:
        self._lines.close()


class _Request(BaseHTTPRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]
    timeout = _RESPONSE_SECONDS
    # Buffered: a process that ends must not have sent a head without its body.
    wbufsize = -1

    def setup(self) -> None:
        super().setup()
        self.rfile: Any = _Head(self.rfile)

    def do_GET(self) -> None:
        self.server.head_came(self.connection)
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._metrics()
        elif path in ("/live", "/ready"):
            health = self.server.source.health()
            self._answer(200 if health[path[1:]] else 503, health)
        else:
            self._answer(404, {"error": "There are /live, /ready and /metrics."})

    def do_HEAD(self) -> None:
        self.do_GET()

    def _metrics(self) -> None:
        metrics = self.server.source.metrics()
        if metrics is None:
            self._answer(501, {"error": "Metrics need prometheus_client; install oxherd[prometheus]."})
        else:
            self._send(200, *metrics)

    def _answer(self, status: int, body: dict[str, Any], *headers: tuple[str, str]) -> None:
        self._send(status, "application/json", json.dumps(body).encode() + b"\n", *headers)

    def _send(self, status: int, content_type: str, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", content_type),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            *headers,
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Answer what http.server itself refuses, without repeating what the client sent."""
        self.request_version = "HTTP/1.0"
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self._answer(405, {"error": "Only GET and HEAD are answered."}, ("Allow", "GET, HEAD"))
        else:
            self._answer(code, {"error": "The request cannot be read."})

    def version_string(self) -> str:
        return "oxherd"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing: probes come every few seconds."""
