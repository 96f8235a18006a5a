"""Waits for a queue's marker (BZPOPMIN) over a connection of its own.

A script may be sent right behind the wait: the server runs it as soon as the wait ends, which saves a round trip.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AskError, MovedError, NoScriptError, RedisError, ResponseError

from oxherd.errors import RedisUnavailable
from oxherd.redis.client import Client, ScriptError, pack_command
from oxherd.redis.connection import ask, send
from oxherd.redis.dedicated_connection import DedicatedConnection
from oxherd.redis.error_mapping import is_unblocked


@dataclass(frozen=True, slots=True)
class Waited:
    """How a wait ended.

    `score` is the marker's (0, or when the next delayed job is due in milliseconds), None without a marker; `reply` is
    the script's, None without a script, or if the server does not know it.
    """

    score: float | None = None
    reply: Any = None


class BlockingPop(DedicatedConnection):
    """BZPOPMIN of one key, again and again."""

    def __init__(self, client: Client, slot: int, key: str, name: str) -> None:
        super().__init__(client, slot, key, "BZPOPMIN", name)
        self._in_use = asyncio.Lock()
        self._client_id = 0

    async def on_open(self, connection: AbstractConnection) -> None:
        self._client_id = int(await ask(connection, "CLIENT", "ID"))

    async def keep_connected(self) -> None:
        """Connect unless connected, and replace a dead connection; a wait sees to that itself. Command: PING.

        Raises:
            RedisUnavailable: the server cannot be reached.
        """
        if self._in_use.locked():
            return
        async with self._in_use:
            try:
                if self.connection is not None and not await self._replies(self.connection):
                    await self.disconnect()
                if self.connection is None:
                    # The shared one first: it backs off, and notes the outage and its end.
                    await self.client.connect(self.slot)
                await self.connected()
            except (RedisError, OSError):  # the next wait tells
                await self.disconnect()
            except asyncio.CancelledError:
                await self.disconnect()
                raise
            if self.closed:
                await self.disconnect()

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
            connection = await self.connected()
            self.waiting = True
            packed = pack_command("BZPOPMIN", self.key, max(seconds, 0.002))
            await send(connection, packed if then is None else packed + then)
            popped = await self._read_marker(connection, seconds)
            reply = None if then is None else await self._read_script(connection)
        except (AskError, MovedError):
            # The slot is being moved.
            await self.disconnect()
            await self.refresh()
            return Waited()
        except ResponseError as error:
            raise await self.refused(error) from None
        except (RedisError, OSError) as error:
            if self.stale:
                return Waited()
            raise await self.failed(error) from None
        except asyncio.CancelledError:
            await self.disconnect()
            raise
        finally:
            self.waiting = False
        self.succeeded()
        return Waited(None if popped is None else float(popped[2]), reply)

    async def _read_script(self, connection: AbstractConnection) -> Any:
        try:
            return await self.read(connection)
        except NoScriptError:
            return None

    async def _read_marker(self, connection: AbstractConnection, seconds: float) -> Any:
        try:
            return await self.read(connection, seconds)
        except ResponseError as error:
            if not is_unblocked(error):
                raise
            return None

    async def unblock(self) -> None:
        """End the current wait, without losing a marker that was just taken. Command: CLIENT UNBLOCK."""
        if not self.waiting:
            return
        with suppress(RedisUnavailable, ScriptError):  # then the wait ends by its own time
            await self.client.call(self.slot, "CLIENT", "UNBLOCK", self._client_id, quiet=True)

    async def _replies(self, connection: AbstractConnection) -> bool:
        try:
            await ask(connection, "PING")
        except (RedisError, OSError):  # opening another one notes an outage, if it is one
            return False
        return True
