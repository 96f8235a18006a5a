"""One command to one server, without an event loop: for starting and steering servers."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from redis import Connection, UnixDomainSocketConnection
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from oxherd.errors import ServerError
from oxherd.redis.url import Address

Reply: TypeAlias = "str | int | list[Reply] | None"


class ReplyError(ServerError):
    """A server replied with an error; `code` is its first word, such as `LOADING` or `ASK`."""

    @property
    def code(self) -> str:
        return str(self).partition(" ")[0]


def command(address: Address, *words: str | bytes | int, password: str | None = None, timeout: float = 5.0) -> Reply:
    """The reply to one command, decoded, over a connection of its own; `timeout` is in seconds.

    Raises:
        ReplyError: the reply is an error.
        OSError: there is no reply.
    """
    connection = _connection(address, password, timeout)
    try:
        connection.send_command(*words)
        return connection.read_response()
    except RedisError as error:
        raise _translated(error) from None
    finally:
        connection.disconnect()


def ping(address: Address, *, timeout: float = 1.0) -> Literal["up", "loading", "down"]:
    """Whether a server replies within `timeout` seconds; `loading`: it reads its data and serves soon."""
    try:
        command(address, "PING", timeout=timeout)
    except ReplyError as error:
        # Any other error (NOAUTH, BUSY, MISCONF) comes from a live server.
        return "loading" if error.code == "LOADING" else "up"
    except (ConnectionError, FileNotFoundError, TimeoutError, BlockingIOError):
        return "down"
    return "up"


def _connection(address: Address, password: str | None, timeout: float) -> Any:
    arguments: dict[str, Any] = {
        "password": password,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "driver_info": None,  # no CLIENT SETINFO of its own
        "decode_responses": True,
        "encoding_errors": "surrogateescape",
    }
    if address.path:
        return UnixDomainSocketConnection(path=address.path, **arguments)
    return Connection(host=address.host, port=address.port, **arguments)


def _translated(error: RedisError) -> Exception:
    if error.status_code is not None:
        return ReplyError(f"{error.status_code} {error}")
    if isinstance(error, ResponseError):
        return ReplyError(str(error))
    # redis-py's errors are no OSErrors; the one behind them says more.
    return error.__context__ if isinstance(error.__context__, OSError) else ConnectionResetError(str(error))
