"""The log of what people have done to a herd: one stream under its prefix, beside the queues."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from oxherd.redis.client import Client, key_slot

MOST_ENTRIES = 10_000
_ENTRY_ID = re.compile(rb"(\d{1,15})-\d{1,15}", re.ASCII)


def audit_key(prefix: str) -> str:
    """Its key: no queue's, after whose name comes a colon; and, by its brace, one that the documented rights allow."""
    return f"{prefix}:{{oxherd-audit}}"


async def append_entry(client: Client, prefix: str, fields: Mapping[str, str]) -> None:
    """Add an entry; the oldest beyond some 10,000 go. Command: XADD.

    Raises:
        RedisUnavailable, ScriptError: as `Client.call`.
    """
    key = audit_key(prefix)
    pairs = [each for pair in fields.items() for each in pair]
    await client.call(key_slot(key), "XADD", key, "MAXLEN", "~", str(MOST_ENTRIES), "*", *pairs)


async def newest_entries(client: Client, prefix: str, most: int) -> list[tuple[int, dict[str, str]]]:
    """The newest entries, each with its time in milliseconds since the Unix epoch. Command: XREVRANGE.

    Raises:
        RedisUnavailable, ScriptError: as `Client.call`.
    """
    key = audit_key(prefix)
    entries: list[Any] = await client.call(key_slot(key), "XREVRANGE", key, "+", "-", "COUNT", str(most))
    found: list[tuple[int, dict[str, str]]] = []
    for entry_id, pairs in entries:
        matched = _ENTRY_ID.fullmatch(entry_id)
        if matched and pairs:
            texts = [each.decode("utf-8", "replace") for each in pairs]
            found.append((int(matched[1]), dict(zip(texts[::2], texts[1::2], strict=True))))
    return found
