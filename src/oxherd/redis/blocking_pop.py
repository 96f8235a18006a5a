"""Waits for a queue's marker on a connection of its own: the one command of ours that blocks.

A script may be sent right behind the wait. The server runs it as soon as the wait ends: that saves the way to us and
back, and so a good part of the time from an emit to its begin.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AskError, MovedError, NoScriptError, RedisError, ResponseError

from oxherd.errors import RedisUnavailable
from oxherd.redis.client import Client, ScriptError, pack_command
from oxherd.redis.connection import SILENCE_SECONDS, ask, read_reply, send
from oxherd.redis.error_mapping import describe, lost, server_state, slot_moves
from oxherd.redis.node import Node
from oxherd.redis.retry import retry_delay

# A server that is late may be busy, or another serves the slot by now: that is asked first, in the meantime.
_LATE_SECONDS = 2.0
# What an outage's cause is called: the connection of ours, and the command on it.
_CONNECTION = "the waiting connection"
_COMMAND = "BZPOPMIN"


@dataclass(frozen=True, slots=True)
class Waited:
    """How a wait ended: the marker's score (0, or the time of the next delayed job in milliseconds), None without one;
    and what the script behind it answered, None where there was none, or the server does not know it."""

    score: float | None = None
    answer: Any = None


class BlockingPop:
    """BZPOPMIN of one key, again and again; its connection is made once and kept."""

    def __init__(self, client: Client, slot: int, key: str) -> None:
        self._client = client
        self._slot = slot
        self._key = key
        self._connection: AbstractConnection | None = None
        self._node: Node | None = None
        self._client_id = 0
        self._waiting = False
        self._failures = 0
        self._stale = False
        self._forget_change = client.topology.on_change(self._on_change)

    async def wait(self, seconds: float, then: bytes | None = None) -> Waited:
        """Wait until a marker is there, or `seconds` have passed; the marker is taken, and `then` (a packed call) run.

        Raises:
            RedisUnavailable: the server cannot be reached; the next call connects anew, spaced out.
            ScriptError: the key cannot be read (it is damaged), or the script failed.

        After an error, and where a wait with `then` ends without an answer, it is not known whether `then` ran.
        """
        try:
            connection = await self._connected()
            self._waiting = True
            packed = pack_command("BZPOPMIN", self._key, max(seconds, 0.002))
            await send(connection, packed if then is None else packed + then)
            reply = await self._reply(connection, seconds)
            waited = Waited(None if reply is None else float(reply[2]))
            if then is not None:
                waited = await self._answer(connection, waited)
        except (AskError, MovedError):
            # The slot moves: the marker's new place is known after the look.
            await self._disconnect()
            await self._refresh()
            return Waited()
        except ResponseError as error:
            raise await self._refused(error) from None
        except (RedisError, OSError) as error:
            if self._stale:
                return Waited()
            raise await self._failed(error) from None
        except RedisUnavailable:
            self._failures += 1
            raise
        except asyncio.CancelledError:
            await self._disconnect()
            raise
        finally:
            self._waiting = False
        self._failures = 0
        if self._node is not None:
            self._node.served(_COMMAND)
        return waited

    async def _answer(self, connection: AbstractConnection, waited: Waited) -> Waited:
        try:
            return replace(waited, answer=await self._reply(connection))
        except NoScriptError:
            return waited

    async def _reply(self, connection: AbstractConnection, seconds: float = 0.0) -> Any:
        """The next reply, due in `seconds`."""
        late = asyncio.get_running_loop().call_later(seconds + _LATE_SECONDS, self._on_late)
        try:
            return await read_reply(connection, seconds + SILENCE_SECONDS)
        finally:
            late.cancel()

    def _on_late(self) -> None:
        self._looking = asyncio.ensure_future(self._refresh())

    async def unblock(self) -> None:
        """End a wait that is going on, without losing a marker that was just taken."""
        if not self._waiting:
            return
        with suppress(RedisUnavailable, ScriptError):  # where it may not be said, the wait ends by its own time
            await self._client.call(self._slot, "CLIENT", "UNBLOCK", self._client_id, quiet=True)

    async def close(self) -> None:
        """Close the connection."""
        self._forget_change()
        self._forget_change = lambda: None
        await self._disconnect()

    async def _connected(self) -> AbstractConnection:
        if self._connection is not None and self._connection.is_connected:
            return self._connection
        if self._failures:
            await asyncio.sleep(retry_delay(self._failures))
        self._stale = False
        self._node = await self._client.topology.node(self._slot)
        self._connection = await self._node.open(_CONNECTION)
        self._client_id = int(await ask(self._connection, "CLIENT", "ID"))
        return self._connection

    async def _refused(self, error: ResponseError) -> Exception:
        self._failures += 1
        await self._disconnect()
        name = self._node.name if self._node else self._key
        fault = server_state(error, name)
        if fault is None:
            return ScriptError(describe(error))
        if self._node is not None and not slot_moves(error):
            self._node.report(fault.source, fault, _COMMAND)
        await self._refresh()
        return fault

    async def _failed(self, error: RedisError | OSError) -> RedisUnavailable:
        self._failures += 1
        await self._disconnect()
        if self._node is not None:
            self._node.report("connect", error, _CONNECTION)
        await self._refresh()
        return lost(self._node.name if self._node else self._key, error, maybe_applied=False)

    async def _refresh(self) -> None:
        with suppress(RedisUnavailable):  # noted as an outage where it happens
            await self._client.topology.refresh()

    def _on_change(self) -> None:
        # A node that no longer serves the slot, or is dead, would keep us waiting for nothing.
        if self._waiting and self._client.topology.current(self._slot) is not self._node:
            self._stale = True
            self._leaving = asyncio.ensure_future(self._disconnect())

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)
