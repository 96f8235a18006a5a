"""Reads and removes all keys under a prefix."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from oxherd.bullmq.keys import QueueKeys
from oxherd.bullmq.shards import shard_queues
from oxherd.declaration import Declaration
from oxherd.producer.backend import Backend
from oxherd.redis.client import Client
from oxherd.testing.observation import Observation

# Fields that store a payload, or a handler's result and progress, by design.
_PAYLOAD: Final = frozenset({"data"})
_RESULTS: Final = frozenset({"returnvalue", "progress"})
_SCAN_COUNT: Final = 1_000
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Storage:
    """All keys of an event under a prefix."""

    def __init__(self, backend: Backend, declaration: Declaration, prefix: str) -> None:
        self._client: Client = backend.client
        self._prefix = prefix
        shards = shard_queues(declaration.name, declaration.shards)
        self._slots = {QueueKeys(prefix, queue).slot for queue in (declaration.queue, *shards)}

    async def read(self) -> list[Observation]:
        """Every key's name and content."""
        found: list[Observation] = []
        async for slot, key in self._keys():
            name = _UUID.sub("<id>", key.decode("utf-8", "backslashreplace").removeprefix(f"{self._prefix}:"))
            found.append(Observation("the name of a key in Redis", key.decode("utf-8", "backslashreplace")))
            found += [_stored(name, field, value) for field, value in await self._values(slot, key)]
        return found

    async def remove(self) -> None:
        """Remove all keys."""
        async for slot, key in self._keys():
            await self._client.call(slot, "DEL", key)

    async def _keys(self) -> AsyncIterator[tuple[int, bytes]]:
        """Each key once, with a slot of the node that has it."""
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", self._prefix) + ":*"
        seen: set[bytes] = set()
        for slot in self._slots:
            cursor: Any = 0
            while True:
                cursor, keys = await self._client.call(slot, "SCAN", cursor, "MATCH", pattern, "COUNT", _SCAN_COUNT)
                for key in sorted(set(keys) - seen):
                    seen.add(key)
                    yield slot, key
                if int(cursor) == 0:
                    break

    async def _values(self, slot: int, key: bytes) -> list[tuple[str, bytes]]:
        """The fields and values of a key; the field is empty where the type has none."""
        kind = bytes(await self._client.call(slot, "TYPE", key)).decode()
        if kind == "hash":
            return list(_pairs(await self._client.call(slot, "HGETALL", key)))
        if kind == "stream":
            entries = await self._client.call(slot, "XRANGE", key, "-", "+")
            return [pair for _, fields in entries for pair in _pairs(fields)]
        if kind == "string":
            return [("", await self._client.call(slot, "GET", key) or b"")]
        command = {"list": ("LRANGE", key, 0, -1), "zset": ("ZRANGE", key, 0, -1), "set": ("SMEMBERS", key)}.get(kind)
        return [("", value) for value in await self._client.call(slot, *command)] if command else []


def _pairs(flat: list[bytes]) -> Iterator[tuple[str, bytes]]:
    named = zip(flat[::2], flat[1::2], strict=True)
    return ((field.decode("utf-8", "backslashreplace"), value) for field, value in named)


def _stored(key: str, field: str, value: bytes) -> Observation:
    what = f"field {field} of {key}" if field else key
    text = value.decode("utf-8", "backslashreplace")
    is_stream = key.endswith(":events")
    # In the event stream, `data` is progress.
    is_payload = field in _PAYLOAD and not is_stream
    is_result = field in _RESULTS or (field in _PAYLOAD and is_stream)
    return Observation(f"Redis ({what})", text, is_payload, is_result)
