"""The slots of a cluster, and a node's view of who has them."""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from itertools import pairwise

SLOTS = 16384


def key_slot(key: str | bytes) -> int:
    """The slot of a key: of what stands in its first braces, if anything does."""
    data = key.encode() if isinstance(key, str) else key
    start = data.find(b"{")
    end = data.find(b"}", start + 1)
    if start >= 0 and end > start + 1:
        data = data[start + 1 : end]
    return binascii.crc_hqx(data, 0) % SLOTS


def ranges(primaries: int) -> list[tuple[int, int]]:
    """The first and last slot of each of `primaries` equal shares."""
    edges = [SLOTS * index // primaries for index in range(primaries + 1)]
    return [(first, after - 1) for first, after in pairwise(edges)]


@dataclass(frozen=True, slots=True)
class Member:
    """A node as another (or itself, `myself`) sees it in CLUSTER NODES."""

    id: str
    flags: frozenset[str]
    primary_id: str | None
    epoch: int
    slots: frozenset[int]

    @property
    def healthy(self) -> bool:
        return not self.flags & {"fail", "fail?", "handshake", "noaddr"}


def parse_members(nodes: str) -> list[Member]:
    """The answer to CLUSTER NODES."""
    return [_parse(line.split(" ")) for line in nodes.splitlines() if line]


def _parse(words: list[str]) -> Member:
    slots: set[int] = set()
    for word in words[8:]:
        # In brackets stand slots on the move.
        if not word.startswith("["):
            first, _, last = word.partition("-")
            slots.update(range(int(first), int(last or first) + 1))
    return Member(
        id=words[0],
        flags=frozenset(words[2].split(",")),
        primary_id=None if words[3] == "-" else words[3],
        epoch=int(words[6]),
        slots=frozenset(slots),
    )
