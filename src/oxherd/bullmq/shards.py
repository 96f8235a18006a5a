"""One event over several queues: their names, and which of them a key belongs to. Pure."""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import count as numbers
from zlib import crc32

from oxherd.redis.client import key_slot
from oxherd.redis.topology import SLOTS

# The slots are divided into 768 equal cells. Three is the least number of primaries of a cluster, hence the 3 first.
_RADICES = (3, 2, 2, 2, 2, 2, 2, 2, 2)
_CELLS = math.prod(_RADICES)
# Of jump consistent hashing.
_MULTIPLIER = 2862933555777941757
_MASK = (1 << 64) - 1


@lru_cache(maxsize=256)
def shard_queues(event: str, shards: int) -> tuple[str, ...]:
    """The queues of an event with that many shards: its own, `{event}`, then `{event/1.SALT}`, `{event/2.SALT}`, ...

    A shard's name does not depend on how many there are. Its salt is the first that puts the queue into the cell that
    the van der Corput sequence has for the shard, counted from the cell of the event's own queue: any number of them
    is spread evenly over the slots.
    """
    home = _cell(event)
    others = ((f"{event}/{shard}", (home + _offset(shard)) % _CELLS) for shard in range(1, shards))
    return (f"{{{event}}}", *(_queue(tag, cell) for tag, cell in others))


def shards_of(key: bytes, shards: int) -> list[int]:
    """The shards that a key has with 1, 2, 3, ... up to that many shards, each once; the last is the one it has now.

    Jump consistent hashing (Lamping and Veach, 2014) of the key's CRC-32, so that other programs can tell, too.
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


def _offset(shard: int) -> int:
    """The shard's place in the van der Corput sequence, in cells: its digits to these radices, reversed."""
    offset, width = 0, _CELLS
    for radix in _RADICES:
        shard, digit = divmod(shard, radix)
        width //= radix
        offset += digit * width
    return offset


def _cell(tag: str) -> int:
    """The cell of a tag's slot. A slot on the border of two belongs to the one that has more of it."""
    return (2 * key_slot(tag) + 1) * _CELLS // (2 * SLOTS)


def _queue(tag: str, cell: int) -> str:
    return f"{{{next(salted for salt in numbers() if _cell(salted := f'{tag}.{salt}') == cell)}}}"
