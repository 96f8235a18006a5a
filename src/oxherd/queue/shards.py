"""One event over several queues: their names, and which of them a key belongs to. Pure."""

from __future__ import annotations

from functools import lru_cache
from itertools import count as numbers
from zlib import crc32

from oxherd.redis.client import key_slot
from oxherd.redis.topology import SLOTS


@lru_cache(maxsize=256)
def shard_queues(event: str, shards: int) -> tuple[str, ...]:
    """The queues of an event with that many shards; one shard is the event's own queue, `{event}`.

    The hash tag of shard i is the first of `event/iofN`, `event/iofN.1`, `event/iofN.2`, ... whose slot lies in the
    i-th of N equal parts of the slots: so the shards spread evenly over any number of primaries.
    """
    if shards == 1:
        return (f"{{{event}}}",)
    return tuple(_queue(f"{event}/{shard}of{shards}", shard, shards) for shard in range(shards))


def _queue(tag: str, shard: int, shards: int) -> str:
    if key_slot(tag) * shards // SLOTS == shard:
        return f"{{{tag}}}"
    for salt in numbers(1):
        if key_slot(f"{tag}.{salt}") * shards // SLOTS == shard:
            return f"{{{tag}.{salt}}}"
    raise AssertionError("the numbers do not end")


def shard_of(key: bytes, shards: int) -> int:
    """The shard of a key: its CRC-32, modulo the number of shards, so that other programs can tell, too."""
    return crc32(key) % shards
