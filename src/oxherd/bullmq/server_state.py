"""What each server says of itself, and how far its clock is from ours."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from oxherd.bullmq.queue_counts import primary_slots
from oxherd.redis.client import Client

OLDEST_VERSION = (6, 2)


@dataclass(frozen=True, slots=True)
class ServerState:
    """A primary's state; None for what it does not tell.

    Attributes:
        max_memory: in bytes; 0 where nothing limits it.
        append_only: whether its append-only file is on.
        replicas: how many are connected.
        failed_write: what could not be written to its disk: `snapshot` or `append-only file`.
        saved_at: when its last snapshot was made, or it was started, in seconds since the Unix epoch.
        clock_ahead: by how many seconds its clock is ahead of this machine's; negative if behind.
        doubt: by how many seconds that may be wrong.
    """

    node: str
    software: str
    version: tuple[int, ...]
    eviction: str | None
    used_memory: int | None
    max_memory: int | None
    append_only: bool | None
    replicas: int
    failed_write: str | None
    saved_at: int | None
    clock_ahead: float
    doubt: float


async def server_states(client: Client) -> list[ServerState]:
    """The state of each primary. Commands: INFO and TIME on each; CLUSTER SLOTS on a cluster.

    Raises:
        RedisUnavailable, ScriptError: as `Client.call`.
    """
    return [await _state(client, slot) for slot in await primary_slots(client)]


async def _state(client: Client, slot: int) -> ServerState:
    text: bytes = await client.call(slot, "INFO")
    lines = text.decode("utf-8", "backslashreplace").splitlines()
    info = dict(line.split(":", 1) for line in lines if ":" in line)
    began = time.time()
    reply: list[Any] = await client.call(slot, "TIME")
    ended = time.time()
    server_time = int(reply[0]) + int(reply[1]) / 1_000_000
    software = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get(f"{software.lower()}_version", "0")
    failed = None
    if info.get("rdb_last_bgsave_status") == "err":
        failed = "snapshot"
    if "err" in (info.get("aof_last_write_status"), info.get("aof_last_bgrewrite_status")):
        failed = "append-only file"
    aof = _number(info, "aof_enabled")
    node = (await client.topology.node(slot)).name
    return ServerState(
        node=node,
        software=software,
        version=tuple(int(part) for part in version.split(".") if part.isdigit()),
        eviction=info.get("maxmemory_policy"),
        used_memory=_number(info, "used_memory"),
        max_memory=_number(info, "maxmemory"),
        append_only=None if aof is None else aof == 1,
        replicas=_number(info, "connected_slaves") or 0,
        failed_write=failed,
        saved_at=_number(info, "rdb_last_save_time"),
        clock_ahead=server_time - (began + ended) / 2,
        doubt=(ended - began) / 2,
    )


def _number(info: Mapping[str, str], name: str) -> int | None:
    text = info.get(name, "")
    return int(text) if text.isdigit() else None
