"""Connections for threads without an event loop, each used by one thread at a time."""

from __future__ import annotations

import os
import time
from typing import Any, NamedTuple

from redis import Connection, SSLConnection, UnixDomainSocketConnection
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from oxherd.redis.connection import CONNECT_SECONDS, SILENCE_SECONDS, connection_arguments
from oxherd.redis.error_mapping import server_refusal
from oxherd.redis.url import Address, RedisURL

# A server closes connections that are idle, and one that has ended all of its own.
_TRUSTED_SECONDS = 0.1
_MAX_IDLE = 16


class Unanswered(Exception):
    """No reply that can be used; `sent`: the server may have run the command."""

    def __init__(self, *, sent: bool) -> None:
        super().__init__("no reply")
        self.sent = sent


class _Idle(NamedTuple):
    address: Address
    connection: Any
    since: float


class BlockingConnections:
    """Opened on demand, and kept for the next call: at most 16. After a fork the child opens its own."""

    def __init__(self, url: RedisURL) -> None:
        self._url = url
        self._idle: list[_Idle] = []
        self._pid = os.getpid()
        self._closed = False

    def ask(self, address: Address, packed: bytes, seconds: float) -> Any:
        """The reply to one packed command, within that many seconds.

        Raises:
            Unanswered: there is none, or it is an error. What is wrong is for the event loop's connection to find out.
        """
        deadline = time.monotonic() + min(seconds, SILENCE_SECONDS)
        connection = self._take(address) or self._open(address, min(seconds, CONNECT_SECONDS))
        try:
            connection.send_packed_command((packed,), check_health=False)
            reply = connection.read_response(timeout=max(0.001, deadline - time.monotonic()))
        except ResponseError as error:
            self._keep(address, connection)
            refusal = server_refusal(error, str(address))
            raise Unanswered(sent=refusal is not None and refusal.maybe_applied) from None
        except (RedisError, OSError):  # redis-py has closed the connection, as it does for a Ctrl-C
            raise Unanswered(sent=True) from None
        self._keep(address, connection)
        return reply

    def close(self) -> None:
        """Close those that are idle, and each other one after its call."""
        self._closed = True
        self._close_idle()

    def _close_idle(self) -> None:
        while (idle := self._pop()) is not None:
            idle.connection.disconnect()

    def _pop(self) -> _Idle | None:
        try:
            return self._idle.pop()  # the one used last: the others become old
        except IndexError:  # another thread may just have taken it
            return None

    def _take(self, address: Address) -> Any | None:
        if self._pid != os.getpid():
            # redis-py closes what a parent opened without ending it for the parent.
            self._pid = os.getpid()
            self._close_idle()
        while (idle := self._pop()) is not None:
            if idle.address == address and _is_usable(idle):
                return idle.connection
            idle.connection.disconnect()
        return None

    def _keep(self, address: Address, connection: Any) -> None:
        if self._closed or len(self._idle) >= _MAX_IDLE:
            connection.disconnect()
        else:
            self._idle.append(_Idle(address, connection, time.monotonic()))

    def _open(self, address: Address, seconds: float) -> Any:
        arguments = connection_arguments(self._url, address)
        arguments |= {"retry": Retry(NoBackoff(), 0), "socket_timeout": seconds, "socket_connect_timeout": seconds}
        kind = UnixDomainSocketConnection if address.path else SSLConnection if self._url.tls else Connection
        connection: Any = kind(**arguments)
        try:
            connection.connect()
        except (RedisError, OSError):
            raise Unanswered(sent=False) from None
        return connection


def _is_usable(idle: _Idle) -> bool:
    if time.monotonic() - idle.since < _TRUSTED_SECONDS:
        return True
    try:
        return not idle.connection.can_read()
    except (RedisError, OSError):
        return False
