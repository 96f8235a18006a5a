"""Waits for a queue's marker (BZPOPMIN) over a connection of its own.

A script may be sent right behind the wait: the server runs it as soon as the wait ends, which saves a round trip.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AskError, MovedError, NoScriptError, RedisError, ResponseError

from oxherd.errors import RedisUnavailable
from oxherd.redis.client import Client, ScriptError, pack_command
from oxherd.redis.connection import SILENCE_SECONDS, ask, read_reply, send
from oxherd.redis.error_mapping import describe, is_unblocked, server_refusal, slot_moves, unreachable
from oxherd.redis.node import Node
from oxherd.redis.retry import retry_delay

# A server that is late may be busy, or another may serve the slot by now: the slot map is refreshed meanwhile.
_LATE_SECONDS = 2.0
# As the causes of outages.
_CONNECTION = "blocking connection"
_COMMAND = "BZPOPMIN"


@dataclass(frozen=True, slots=True)
class Waited:
    """How a wait ended.

    `score` is the marker's (0, or when the next delayed job is due in milliseconds), None without a marker; `reply` is
    the script's, None without a script, or if the server does not know it.
    """

    score: float | None = None
    reply: Any = None


class BlockingPop:
    """BZPOPMIN of one key, again and again, over a connection that is kept; CLIENT LIST shows it by `name`."""

    def __init__(self, client: Client, slot: int, key: str, name: str) -> None:
        self._client = client
        self._slot = slot
        self._key = key
        self._name = name
        self._in_use = asyncio.Lock()
        self._connection: AbstractConnection | None = None
        self._node: Node | None = None
        self._opened = 0.0
        self._client_id = 0
        self._waiting = False
        self._failures = 0
        self._stale = False
        self._closed = False
        self._unsubscribe = client.topology.on_change(self._on_change)

    async def keep_connected(self) -> None:
        """Connect unless connected, and replace a dead connection; a wait sees to that itself. Command: PING.

        Raises:
            RedisUnavailable: the server cannot be reached.
        """
        if self._in_use.locked():
            return
        async with self._in_use:
            try:
                if self._connection is not None and not await self._replies(self._connection):
                    await self._disconnect()
                if self._connection is None:
                    # The shared one first: it backs off, and notes the outage and its end.
                    await self._client.connect(self._slot)
                await self._connected()
            except (RedisError, OSError):  # the next wait tells
                await self._disconnect()
            except asyncio.CancelledError:
                await self._disconnect()
                raise
            if self._closed:
                await self._disconnect()

    async def wait(self, seconds: float, then: bytes | None = None) -> Waited:
        """Take the marker within `seconds`, then run `then`, a packed call. Command: BZPOPMIN.

        After an error, or without a reply, it is not known whether `then` ran.

        Raises:
            RedisUnavailable: the server cannot be reached; the next call reconnects, after a delay.
            ScriptError: the key is damaged, or the script failed.
        """
        async with self._in_use:
            return await self._wait(seconds, then)

    async def _wait(self, seconds: float, then: bytes | None) -> Waited:
        try:
            connection = await self._connected()
            self._waiting = True
            packed = pack_command("BZPOPMIN", self._key, max(seconds, 0.002))
            await send(connection, packed if then is None else packed + then)
            popped = await self._read_marker(connection, seconds)
            reply = None if then is None else await self._read_script(connection)
        except (AskError, MovedError):
            # The slot is being moved.
            await self._disconnect()
            await self._refresh()
            return Waited()
        except ResponseError as error:
            raise await self._refused(error) from None
        except (RedisError, OSError) as error:
            if self._stale:
                return Waited()
            raise await self._failed(error) from None
        except asyncio.CancelledError:
            await self._disconnect()
            raise
        finally:
            self._waiting = False
        self._failures = 0
        if self._node is not None:
            self._node.note_success(_COMMAND)
        return Waited(None if popped is None else float(popped[2]), reply)

    async def _read_script(self, connection: AbstractConnection) -> Any:
        try:
            return await self._read(connection)
        except NoScriptError:
            return None

    async def _read_marker(self, connection: AbstractConnection, seconds: float) -> Any:
        try:
            return await self._read(connection, seconds)
        except ResponseError as error:
            if not is_unblocked(error):
                raise
            return None

    async def _read(self, connection: AbstractConnection, seconds: float = 0.0) -> Any:
        """The next reply, due in `seconds`."""
        late = asyncio.get_running_loop().call_later(seconds + _LATE_SECONDS, self._on_late)
        try:
            return await read_reply(connection, seconds + SILENCE_SECONDS)
        finally:
            late.cancel()

    def _on_late(self) -> None:
        self._refreshing = asyncio.ensure_future(self._refresh())

    async def unblock(self) -> None:
        """End the current wait, without losing a marker that was just taken. Command: CLIENT UNBLOCK."""
        if not self._waiting:
            return
        with suppress(RedisUnavailable, ScriptError):  # then the wait ends by its own time
            await self._client.call(self._slot, "CLIENT", "UNBLOCK", self._client_id, quiet=True)

    async def close(self) -> None:
        """Close the connection."""
        self._closed = True
        self._unsubscribe()
        self._unsubscribe = lambda: None
        await self._disconnect()

    async def _connected(self) -> AbstractConnection:
        if self._connection is not None and self._connection.is_connected:
            if self._client.topology.current(self._slot) is self._node:
                return self._connection
            await self._disconnect()
        if self._failures:
            await asyncio.sleep(retry_delay(self._failures))
        self._stale = False
        try:
            self._node = await self._client.topology.node(self._slot)
            self._connection = await self._node.open(_CONNECTION, self._name)
        except RedisUnavailable:
            self._failures += 1
            raise
        self._opened = time.monotonic()
        self._client_id = int(await ask(self._connection, "CLIENT", "ID"))
        return self._connection

    async def _replies(self, connection: AbstractConnection) -> bool:
        try:
            await ask(connection, "PING")
        except (RedisError, OSError):  # opening another one notes an outage, if it is one
            return False
        return True

    async def _refused(self, error: ResponseError) -> Exception:
        self._failures += 1
        await self._disconnect()
        name = self._node.name if self._node else self._key
        fault = server_refusal(error, name)
        if fault is None:
            return ScriptError(describe(error))
        if self._node is not None and not slot_moves(error):
            self._node.note_failure(fault.source, fault, _COMMAND, since=self._opened)
        await self._refresh()
        return fault

    async def _failed(self, error: RedisError | OSError) -> RedisUnavailable:
        self._failures += 1
        await self._disconnect()
        # One that is merely closed is replaced; if it cannot be, that is noted.
        if self._node is not None and isinstance(error, TimeoutError):
            self._node.note_failure("connect", error, _CONNECTION, since=self._opened)
        await self._refresh()
        return unreachable(self._node.name if self._node else self._key, error, maybe_applied=False)

    async def _refresh(self) -> None:
        with suppress(RedisUnavailable):  # noted as an outage where it happens
            await self._client.topology.refresh()

    def _on_change(self) -> None:
        # A node that is dead or no longer serves the slot never pops a marker.
        if self._waiting and self._client.topology.current(self._slot) is not self._node:
            self._stale = True
            self._leaving = asyncio.ensure_future(self._disconnect())

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)
