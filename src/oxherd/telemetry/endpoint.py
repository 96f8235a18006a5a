"""`/live`, `/ready` and `/metrics` over HTTP, from threads of their own: the event loop may be blocked."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from socketserver import TCPServer
from typing import Any, Protocol

from oxherd.errors import ConfigError, ServerError

# What a request may take: its head in bytes, its time in seconds, and how many there may be at once.
_LARGEST = 8192
_SECONDS = 5.0
_AT_ONCE = 16
_CLOSE_SECONDS = 0.05


class Source(Protocol):
    """Whom the endpoint asks, in whatever thread."""

    def health(self) -> dict[str, Any]:
        """`live`, `ready`, `reasons` and more, as JSON."""
        ...

    def metrics(self) -> tuple[str, bytes] | None:
        """The content type and the text for Prometheus; None where its package is not installed."""
        ...


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; port 0 is a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """An address from HOST:PORT, `[::1]:8081` for IPv6.

    Raises:
        ConfigError: it is not one.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    plain = host.isascii() and host.isprintable() and " " not in host and bracketed == (":" in host)
    if not (colon and host and plain and port.isascii() and port.isdigit() and int(port) < 65536):
        raise ConfigError("--health takes HOST:PORT, such as 127.0.0.1:8081, or [::1]:8081 for IPv6.")
    return Address(host, int(port))


@contextmanager
def serving(address: Address, source: Source) -> Generator[Address]:
    """Answer at an address meanwhile; gives the address, with its port.

    Raises:
        ServerError: nothing can listen there.
    """
    try:
        server = _Server(address, source)
    except OSError as error:
        why = (error.strerror or type(error).__name__).lower()
        raise ServerError(f"Nothing can listen at {address} ({why}); give --health another address.") from None
    thread = threading.Thread(target=server.serve_forever, args=(_CLOSE_SECONDS,), name="oxherd-health", daemon=True)
    thread.start()
    try:
        yield Address(address.host, int(server.server_address[1]))
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: Address, source: Source) -> None:
        self.source = source
        self._places = threading.BoundedSemaphore(_AT_ONCE)
        self.address_family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        super().__init__((address.host, address.port), _Request)

    def server_bind(self) -> None:
        # HTTPServer's own asks the name service for the host's name, which nobody needs.
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no news."""


class _Request(BaseHTTPRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]
    timeout = _SECONDS
    # Head and body go together: a process that ends in between would send the one without the other.
    wbufsize = -1

    def handle(self) -> None:
        head = self._read_head()
        if head is None:
            return
        self.rfile = BytesIO(head)
        self.raw_requestline = self.rfile.readline()
        if not self.parse_request():
            return
        if self.command not in ("GET", "HEAD"):
            self._answer(405, {"error": "Only GET and HEAD are answered."}, ("Allow", "GET, HEAD"))
            return
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._metrics()
        elif path in ("/live", "/ready"):
            health = self.server.source.health()
            self._answer(200 if health[path[1:]] else 503, health)
        else:
            self._answer(404, {"error": "There are /live, /ready and /metrics."})

    def _metrics(self) -> None:
        told = self.server.source.metrics()
        if told is None:
            self._answer(501, {"error": "Metrics need prometheus_client; install oxherd[prometheus]."})
        else:
            self._send(200, *told)

    def _read_head(self) -> bytes | None:
        """The request's line and headers; None where they do not come in time."""
        head = b""
        until = time.monotonic() + _SECONDS
        while b"\r\n\r\n" not in head and b"\n\n" not in head:
            if len(head) > _LARGEST:
                self.raw_requestline, self.requestline, self.request_version, self.command = b"", "", "HTTP/1.0", ""
                self._answer(431, {"error": f"A request may have {_LARGEST} bytes."})
                return None
            left = until - time.monotonic()
            if left <= 0:
                return None
            self.connection.settimeout(left)
            try:
                part = self.connection.recv(_LARGEST)
            except OSError:
                return None
            if not part:
                return None
            head += part
        self.connection.settimeout(_SECONDS)
        return head

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
        """A request that cannot be read: what the client sent is not repeated."""
        self.request_version = "HTTP/1.0"
        self.command = ""
        self._answer(code, {"error": "The request cannot be read."})

    def version_string(self) -> str:
        return "oxherd"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Probes come every few seconds: none is logged."""
