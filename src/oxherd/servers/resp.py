"""A small blocking RESP2 client: what is needed to start, form and steer servers before any client library is."""

from __future__ import annotations

import socket
from pathlib import Path
from types import TracebackType
from typing import Literal, TypeAlias

from oxherd.errors import ServerError

Address: TypeAlias = "tuple[str, int] | Path"
Reply: TypeAlias = "str | int | ReplyError | list[Reply] | None"


class ReplyError(ServerError):
    """A server answered a command with an error; `code` is its first word, such as `LOADING` or `ASK`."""

    @property
    def code(self) -> str:
        return str(self).partition(" ")[0]


class RespClient:
    """One connection to `address`: a host and port, or the path of a Unix socket. `timeout` is in seconds."""

    def __init__(self, address: Address, *, timeout: float = 5.0) -> None:
        if isinstance(address, Path):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        else:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(timeout)
            self._socket.connect(str(address) if isinstance(address, Path) else address)
        except BaseException:
            self._socket.close()
            raise
        self._reader = self._socket.makefile("rb")

    def command(self, *arguments: str | bytes | int) -> Reply:
        """Send one command and return its answer, text decoded; an error answer is raised as a `ReplyError`."""
        words = [word if isinstance(word, bytes) else str(word).encode() for word in arguments]
        request = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
        self._socket.sendall(request)
        reply = self._read()
        if isinstance(reply, ReplyError):
            raise reply
        return reply

    def close(self) -> None:
        """Close the connection."""
        self._reader.close()
        self._socket.close()

    def _read(self) -> Reply:
        line = self._reader.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionResetError("the server closed the connection")
        kind, text = line[:1], line[1:-2].decode(errors="surrogateescape")
        match kind:
            case b"+":
                return text
            case b"-":
                return ReplyError(text)
            case b":":
                return int(text)
            case b"$":
                return None if text == "-1" else self._read_bulk(int(text))
            case b"*":
                return None if text == "-1" else [self._read() for _ in range(int(text))]
            case _:
                raise ServerError(f"An answer began with {kind!r}, which is not RESP2: check the address.")

    def _read_bulk(self, length: int) -> str:
        data = self._reader.read(length + 2)
        if len(data) != length + 2:
            raise ConnectionResetError("the server closed the connection")
        return data[:-2].decode(errors="surrogateescape")

    def __enter__(self) -> RespClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def ping(address: Address, *, timeout: float = 1.0) -> Literal["up", "loading", "down"]:
    """Whether a server answers at `address` within `timeout` seconds; `loading` reads its data and serves soon."""
    try:
        with RespClient(address, timeout=timeout) as client:
            client.command("PING")
    except ReplyError as error:
        # Any other error (NOAUTH, BUSY, MISCONF) comes from a server that lives.
        return "loading" if error.code == "LOADING" else "up"
    except (ConnectionError, FileNotFoundError, TimeoutError, BlockingIOError):
        return "down"
    return "up"
