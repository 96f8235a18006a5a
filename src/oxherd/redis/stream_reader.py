"""Reads a stream as it grows (XREAD BLOCK) over a connection of its own."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.exceptions import AskError, MovedError, RedisError, ResponseError

from oxherd.redis.client import Client, pack_command
from oxherd.redis.connection import send
from oxherd.redis.dedicated_connection import DedicatedConnection
from oxherd.redis.error_mapping import is_unblocked

# An entry's id, and its fields and values in turn.
StreamEntry = tuple[bytes, list[bytes]]


class StreamReader(DedicatedConnection):
    """XREAD of one stream, again and again."""

    def __init__(self, client: Client, slot: int, key: str) -> None:
        super().__init__(client, slot, key, "XREAD")

    async def next(self, after: bytes, seconds: float, count: int) -> list[StreamEntry]:
        """At most `count` entries after an id, once there are any; none after `seconds`. Command: XREAD.

        Raises:
            RedisUnavailable: the server cannot be reached, or the slot has moved; the next call reconnects.
            ScriptError: the key holds no stream.
        """
        try:
            connection = await self.connected()
            self.waiting = True
            block = max(1, round(seconds * 1000))
            await send(connection, pack_command("XREAD", "COUNT", count, "BLOCK", block, "STREAMS", self.key, after))
            reply: Any = await self.read(connection, seconds)
        except (AskError, MovedError) as error:
            raise await self.failed(error) from None
        except ResponseError as error:
            if is_unblocked(error):
                return []
            raise await self.refused(error) from None
        except (RedisError, OSError) as error:
            raise await self.failed(error) from None
        except asyncio.CancelledError:
            await self.disconnect()
            raise
        finally:
            self.waiting = False
        self.succeeded()
        return [] if not reply else [(entry[0], entry[1]) for entry in reply[0][1] if entry[1]]
