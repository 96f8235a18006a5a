"""A connection of its own for commands that block, kept from one to the next, and replaced when its slot moves."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

from oxherd.errors import RedisUnavailable
from oxherd.redis.client import Client, ScriptError
from oxherd.redis.connection import SILENCE_SECONDS, close_connection, read_reply
from oxherd.redis.error_mapping import describe, server_refusal, slot_moves, unreachable
from oxherd.redis.node import Node
from oxherd.redis.retry import retry_delay

# A server that is late may be busy, or another may serve the slot by now: the slot map is refreshed meanwhile.
_LATE_SECONDS = 2.0
# As the cause of an outage.
_CONNECTION = "blocking connection"


class DedicatedConnection:
    """The base of what blocks on one key; `command` names an outage's cause, CLIENT LIST shows `name`.

    Attributes:
        waiting: whether a command is under way.
        stale: whether its connection was dropped since another node serves the slot now.
    """

    def __init__(self, client: Client, slot: int, key: str, command: str, name: str = "") -> None:
        self.client = client
        self.slot = slot
        self.key = key
        self._command = command
        self._name = name
        self.connection: AbstractConnection | None = None
        self._node: Node | None = None
        self._opened = 0.0
        self._failures = 0
        self.waiting = False
        self.stale = False
        self.closed = False
        self._unsubscribe = client.topology.on_change(self._on_change)

    async def connected(self) -> AbstractConnection:
        """The connection, opened if needed; backs off after failures. Raises RedisUnavailable."""
        if self.connection is not None and self.connection.is_connected:
            if self.client.topology.current(self.slot) is self._node:
                return self.connection
            await self.disconnect()
        if self._failures:
            await asyncio.sleep(retry_delay(self._failures))
        self.stale = False
        try:
            self._node = await self.client.topology.node(self.slot)
            self.connection = await self._node.open(_CONNECTION, self._name)
        except RedisUnavailable:
            self._failures += 1
            raise
        self._opened = time.monotonic()
        await self.on_open(self.connection)
        return self.connection

    async def on_open(self, connection: AbstractConnection) -> None:
        """A new connection is open."""

    async def read(self, connection: AbstractConnection, seconds: float = 0.0) -> Any:
        """The next reply, due in `seconds`."""
        late = asyncio.get_running_loop().call_later(seconds + _LATE_SECONDS, self._on_late)
        try:
            return await read_reply(connection, seconds + SILENCE_SECONDS)
        finally:
            late.cancel()

    def succeeded(self) -> None:
        """The command was answered."""
        self._failures = 0
        if self._node is not None:
            self._node.note_success(self._command)

    async def refused(self, error: ResponseError) -> Exception:
        """What to raise for an error reply; the connection is dropped."""
        self._failures += 1
        await self.disconnect()
        name = self._node.name if self._node else self.key
        fault = server_refusal(error, name)
        if fault is None:
            return ScriptError(describe(error))
        if self._node is not None and not slot_moves(error):
            self._node.note_failure(fault.source, fault, self._command, since=self._opened)
        await self.refresh()
        return fault

    async def failed(self, error: RedisError | OSError) -> RedisUnavailable:
        """What to raise for a lost connection."""
        self._failures += 1
        await self.disconnect()
        # One that is merely closed is replaced; if it cannot be, that is noted.
        if self._node is not None and isinstance(error, TimeoutError):
            self._node.note_failure("connect", error, _CONNECTION, since=self._opened)
        await self.refresh()
        return unreachable(self._node.name if self._node else self.key, error, maybe_applied=False)

    async def refresh(self) -> None:
        """Fetch the slot map again."""
        with suppress(RedisUnavailable):  # noted as an outage where it happens
            await self.client.topology.refresh()

    async def disconnect(self) -> None:
        """Drop the connection; the next use opens another."""
        connection, self.connection = self.connection, None
        if connection is not None:
            await close_connection(connection)

    async def close(self) -> None:
        """Close for good."""
        self.closed = True
        self._unsubscribe()
        self._unsubscribe = lambda: None
        await self.disconnect()

    def _on_late(self) -> None:
        self._refreshing = asyncio.ensure_future(self.refresh())

    def _on_change(self) -> None:
        # A node that is dead or no longer serves the slot never answers.
        if self.waiting and self.client.topology.current(self.slot) is not self._node:
            self.stale = True
            self._leaving = asyncio.ensure_future(self.disconnect())
