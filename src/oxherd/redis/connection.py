"""One redis-py connection: how it is made, and how a reply is read from it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, cast

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from oxherd.redis.error_mapping import describe
from oxherd.redis.tls import explained, tls_arguments
from oxherd.redis.url import Address, RedisURL

CONNECT_SECONDS = 5.0
# Redis may be busy for seconds (a fork, a long script, a slow disk); a connection that is silent for longer while it
# owes us an answer is taken for dead, since a peer that vanished without a word is only found this way.
SILENCE_SECONDS = 8.0
_HELD_UP_SECONDS = 0.5


async def open_connection(url: RedisURL, address: Address, *, sentinel: bool = False) -> AbstractConnection:
    """A redis-py connection, greeted: RESP2, bytes, and no retry of its own.

    Raises RedisError or OSError where it cannot be made within 5 seconds.
    """
    connection = _make(url, address, sentinel=sentinel)
    try:
        async with _Within(CONNECT_SECONDS, f"no greeting within {CONNECT_SECONDS:.0f} seconds"):
            # A server that is stopped, not gone, takes the connection and never answers the greeting.
            with _resets():
                await connection.connect()
    except (RedisError, OSError) as error:
        await connection.disconnect(nowait=True)
        if isinstance(error, ResponseError):
            # The password may be in its own words, also where it is the context of ours.
            error.args = (describe(error),)
        raise (explained(error) if url.tls else error) from None
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    return connection


def _make(url: RedisURL, address: Address, *, sentinel: bool) -> AbstractConnection:
    arguments: dict[str, object] = {
        "db": 0 if sentinel else url.db,
        "username": url.option("sentinel_username") if sentinel else url.username,
        "password": url.option("sentinel_password") if sentinel else url.password,
        "protocol": 2,
        "socket_timeout": None,
        "socket_connect_timeout": None,  # ours is for the connection and its greeting
        "client_name": "oxherd",
        # No CLIENT SETINFO: Redis before 7.2 does not know it, and one right less has to be granted.
        "driver_info": None,
        "retry": Retry(NoBackoff(), 0),
    }
    if sentinel:
        arguments.pop("client_name")
    if address.path:
        return UnixDomainSocketConnection(path=address.path, **arguments)  # pyright: ignore[reportArgumentType]
    arguments |= {"host": address.host, "port": address.port, "socket_keepalive": True}
    if url.tls:
        return SSLConnection(**arguments, **tls_arguments(url))  # pyright: ignore[reportArgumentType]
    return Connection(**arguments)  # pyright: ignore[reportArgumentType]


async def send(connection: AbstractConnection, packed: bytes) -> None:
    """Send what is packed; raises RedisError or OSError where the connection is lost."""
    with _resets():
        await connection.send_packed_command(packed, check_health=False)


async def ask(connection: AbstractConnection, *command: str) -> Any:
    """A command's reply, within 5 seconds; raises as `send` and `read_reply`."""
    await send(connection, b"".join(cast("Any", connection).pack_command(*command)))
    return await read_reply(connection)


@contextmanager
def _resets() -> Generator[None]:
    try:
        yield
    except RuntimeError:
        # What uvloop says of a connection that was reset, as long as nobody has read that.
        raise ConnectionResetError("connection lost") from None


async def read_reply(connection: AbstractConnection, seconds: float = CONNECT_SECONDS) -> Any:
    """The next reply; raises TimeoutError where none comes in time, and closes the connection then."""
    async with _Within(seconds, "no answer in time"):
        # redis-py's own timeout answers None, as a nil reply does.
        return await cast("Any", connection).read_response(timeout=math.inf)


class _Within:
    """Ends what is awaited after so many seconds, with a TimeoutError that says `told`; a moment later where the loop
    was held up then, so that what has come meanwhile is read."""

    def __init__(self, seconds: float, told: str) -> None:
        self._limit = asyncio.timeout(None)
        self._loop = asyncio.get_running_loop()
        self._told = told
        self._arm(seconds)

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        try:
            await self._limit.__aexit__(kind, error, traceback)
        except TimeoutError:
            raise TimeoutError(self._told) from None

    def _arm(self, seconds: float) -> None:
        self._due = self._loop.time() + seconds
        self._timer = self._loop.call_later(seconds, self._over)

    def _over(self) -> None:
        now = self._loop.time()
        if now - self._due > _HELD_UP_SECONDS:
            self._arm(_HELD_UP_SECONDS)
        else:
            self._limit.reschedule(now)
