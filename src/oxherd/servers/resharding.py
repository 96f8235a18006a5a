"""Moving a slot between the nodes of a local cluster, in one go or step by step."""

from __future__ import annotations

from abc import ABC, abstractmethod

from oxherd.errors import ServerError
from oxherd.servers.node import Node
from oxherd.servers.polling import wait_until

_MOVE = 30.0  # seconds


class Resharding(ABC):
    """The part of a local cluster that moves slots: `move_slot` is `begin_move`, `move_keys`, `end_move`."""

    def __init__(self, password: str | None) -> None:
        self.nodes: list[Node] = []
        self._password = password

    def answering(self) -> list[Node]:
        """The nodes that are alive and not paused."""
        return [node for node in self.nodes if node.answering]

    @abstractmethod
    def primary_of(self, key: str | int) -> Node:
        """The primary that serves a key or slot."""

    def move_slot(self, slot: int, target: Node) -> None:
        """Give `slot` with its keys to the primary `target`, and wait until all nodes know."""
        self.begin_move(slot, target)
        self.move_keys(slot, target)
        self.end_move(slot, target)

    def begin_move(self, slot: int, target: Node) -> None:
        """From now on the slot's primary answers ASK for keys that it does not have."""
        source = self.primary_of(slot)
        if source is target:
            raise ServerError(f"The node on port {target.port} has slot {slot} already: choose another.")
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)

    def move_keys(self, slot: int, target: Node, *, limit: int | None = None) -> int:
        """Move the slot's keys, or as many as `limit`; returns how many were moved."""
        source = self.primary_of(slot)
        secret = [] if self._password is None else ["AUTH", self._password]
        moved = 0
        while limit is None or moved < limit:
            batch = 100 if limit is None else min(100, limit - moved)
            keys = source.command("CLUSTER", "GETKEYSINSLOT", slot, batch)
            if not isinstance(keys, list) or not keys:
                break
            names = map(str, keys)
            source.command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, *secret, "KEYS", *names, timeout=10)
            moved += len(keys)
        return moved

    def end_move(self, slot: int, target: Node) -> None:
        """Make `target` the slot's primary, and wait until all nodes that answer know."""
        source = self.primary_of(slot)
        # The target first: were it last, there would be a moment in which nobody has the slot.
        for node in (target, source):
            node.command("CLUSTER", "SETSLOT", slot, "NODE", target.id)
        wait_until(lambda: self._all_know(slot, target), seconds=_MOVE, what=f"all nodes know who has slot {slot}")

    def _all_know(self, slot: int, target: Node) -> bool:
        return all(
            slot in member.slots for node in self.answering() for member in node.members() if member.id == target.id
        )
