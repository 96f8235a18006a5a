"""The queues of a sharded event, and which of them a key belongs to. Pure functions."""

from __future__ import annotations

import math
from binascii import crc_hqx
from functools import lru_cache
from itertools import count as numbers
from zlib import crc32

from oxherd.redis.client import key_slot
from oxherd.redis.topology import SLOTS

# The slots are divided into 768 equal cells. The first radix is 3, the least number of primaries of a cluster.
_RADICES = (3, 2, 2, 2, 2, 2, 2, 2, 2)
_CELLS = math.prod(_RADICES)
# Of jump consistent hashing.
_MULTIPLIER = 2862933555777941757
_MASK = (1 << 64) - 1


@lru_cache(maxsize=256)
def shard_queues(event: str, shards: int) -> tuple[str, ...]:
    """The names of an event's queues: the plain `{event}`, then `{event/1.SALT}`, `{event/2.SALT}`, ...

    No name depends on the number of shards. The salt is the first that puts the queue into the shard's cell by the van
    der Corput sequence, counted from the plain queue's cell: any number of shards is spread evenly over the slots.
    """
    home = _cell(key_slot(event))
    return (
        f"{{{event}}}",
        *(_queue(f"{event}/{shard}", (home + _offset(shard)) % _CELLS) for shard in range(1, shards)),
    )


def shards_of(key: bytes, shards: int) -> list[int]:
    """The shards of a key with 1, 2, ... up to `shards` shards, each once; the last is its shard now.

    Jump consistent hashing (Lamping and Veach, 2014) of the key's CRC-32, so that other programs can compute it.
    """
    state = crc32(key)
    found = [0]
    while True:
        state = (state * _MULTIPLIER + 1) & _MASK
        shard = int((found[-1] + 1) * ((1 << 31) / ((state >> 33) + 1)))
        if shard >= shards:
            return found
        found.append(shard)


def shard_of(key: bytes, shards: int) -> int:
    """The shard of a key."""
    return shards_of(key, shards)[-1]


def shard_number(event: str, queue: str) -> int:
    """Which shard of an event a queue is; 0 for its plain queue, and for one that it shares."""
    start = f"{{{event}/"
    number = queue[len(start) :].partition(".")[0] if queue.startswith(start) else ""
    return int(number) if number.isdecimal() else 0


def _offset(shard: int) -> int:
    """The shard's term of the van der Corput sequence, in cells: its digits in these radices, reversed."""
    offset, width = 0, _CELLS
    for radix in _RADICES:
        shard, digit = divmod(shard, radix)
        width //= radix
        offset += digit * width
    return offset


def _cell(slot: int) -> int:
    """The cell with the larger part of a slot."""
    return (2 * slot + 1) * _CELLS // (2 * SLOTS)


@lru_cache(maxsize=4096)
def _queue(tag: str, cell: int) -> str:
    # The CRC-16 by which Redis Cluster maps keys to slots, continued: a salt is looked for hundreds of times a shard.
    unsalted = crc_hqx(f"{tag}.".encode(), 0)
    salt = next(salt for salt in numbers() if _cell(crc_hqx(b"%d" % salt, unsalted) % SLOTS) == cell)
    return f"{{{tag}.{salt}}}"
