"""Opens redis-py connections, and sends and reads on them within time limits."""

from __future__ import annotations

import asyncio
import math
import re
from contextlib import suppress
from types import TracebackType
from typing import Any, cast

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from oxherd.redis.error_mapping import describe
from oxherd.redis.tls import tls_arguments, with_remedy
from oxherd.redis.url import Address, RedisURL

CONNECT_SECONDS = 5.0
_CLOSE_SECONDS = 1.0
# Redis may be busy for seconds (a fork, a long script, a slow disk). A connection that owes a reply and is silent for
# longer counts as dead: there is no other sign of a peer that vanished.
SILENCE_SECONDS = 8.0
_HELD_UP_SECONDS = 0.5
_RESET = "connection lost"
_CLIENT_NAME = "oxherd"
# CLIENT SETNAME refuses any other.
_VALID_NAME = re.compile("[!-~]+")


async def open_connection(
    url: RedisURL, address: Address, *, sentinel: bool = False, name: str = ""
) -> AbstractConnection:
    """Open a connection and authenticate: RESP2, bytes, no retries. `name` is its name in CLIENT LIST.

    Raises:
        RedisError, OSError: it cannot be opened within 5 seconds.
    """
    connection = _make(url, address, sentinel, name)
    try:
        async with _Timeout(CONNECT_SECONDS, f"no greeting within {CONNECT_SECONDS:.0f} seconds"):
            # A suspended server accepts the connection, and never replies to the greeting.
            try:
                await connection.connect()
            except RuntimeError:  # as in `send`
                raise ConnectionResetError(_RESET) from None
    except (RedisError, OSError) as error:
        await close_connection(connection)
        if isinstance(error, ResponseError):
            # Its message may hold the password, and it may become the context of another error.
            error.args = (describe(error),)
        raise (with_remedy(error) if url.tls else error) from None
    except BaseException:
        await close_connection(connection)
        raise
    return connection


async def close_connection(connection: AbstractConnection) -> None:
    """Close a connection, lost ones too. TLS says goodbye and hears it first: a peer has a second for that."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_SECONDS):
            await connection.disconnect()


def connection_arguments(url: RedisURL, address: Address, *, sentinel: bool = False, name: str = "") -> dict[str, Any]:
    """redis-py's arguments for a connection, blocking or not, without time limits and retries."""
    arguments: dict[str, Any] = {
        "db": 0 if sentinel else url.db,
        "username": url.option("sentinel_username") if sentinel else url.username,
        "password": url.option("sentinel_password") if sentinel else url.password,
        "protocol": 2,
        # No CLIENT SETINFO: unknown to Redis before 7.2, and one more right to grant.
        "driver_info": None,
    }
    if not sentinel:
        arguments["client_name"] = name if _VALID_NAME.fullmatch(name) else _CLIENT_NAME
    if address.path:
        return {"path": address.path, **arguments}
    tls = tls_arguments(url) if url.tls else {}
    return {"host": address.host, "port": address.port, "socket_keepalive": True, **tls, **arguments}


def _make(url: RedisURL, address: Address, sentinel: bool, name: str) -> AbstractConnection:
    arguments = connection_arguments(url, address, sentinel=sentinel, name=name)
    # Our own time limit covers the greeting as well.
    arguments |= {"socket_timeout": None, "socket_connect_timeout": None, "retry": Retry(NoBackoff(), 0)}
    kind = UnixDomainSocketConnection if address.path else SSLConnection if url.tls else Connection
    return kind(**arguments)


async def send(connection: AbstractConnection, packed: bytes) -> None:
    """Send packed commands; raises RedisError or OSError if the connection is lost."""
    try:
        await connection.send_packed_command(packed, check_health=False)
    except RuntimeError:
        # uvloop's error for a connection whose reset has not been read yet.
        raise ConnectionResetError(_RESET) from None


async def ask(connection: AbstractConnection, *command: str) -> Any:
    """Send a command and return its reply, within 5 seconds; raises as `send` and `read_reply`."""
    await send(connection, b"".join(cast("Any", connection).pack_command(*command)))
    return await read_reply(connection)


async def read_reply(connection: AbstractConnection, seconds: float = CONNECT_SECONDS) -> Any:
    """The next reply; raises TimeoutError if none arrives in time."""
    async with _Timeout(seconds, "no reply in time"):
        # redis-py's own timeout returns None, as a nil reply does.
        return await cast("Any", connection).read_response(timeout=math.inf)


class _Timeout:
    """As `asyncio.timeout`, with a message; extended if the loop was held up, so that what arrived is read first."""

    def __init__(self, seconds: float, message: str) -> None:
        self._limit = asyncio.timeout(None)
        self._loop = asyncio.get_running_loop()
        self._message = message
        self._set_timer(seconds)

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        try:
            await self._limit.__aexit__(kind, error, traceback)
        except TimeoutError:
            raise TimeoutError(self._message) from None

    def _set_timer(self, seconds: float) -> None:
        self._due = self._loop.time() + seconds
        self._timer = self._loop.call_later(seconds, self._expire)

    def _expire(self) -> None:
        now = self._loop.time()
        if now - self._due > _HELD_UP_SECONDS:
            self._set_timer(_HELD_UP_SECONDS)
        else:
            self._limit.reschedule(now)
