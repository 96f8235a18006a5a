"""A real cluster on this machine, for tests, drills and development."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote

from oxherd.errors import ServerError
from oxherd.redis.blocking import ReplyError
from oxherd.redis.client import key_slot
from oxherd.redis.topology import SLOTS
from oxherd.servers.config import Settings
from oxherd.servers.local_server import LocalTopology, new_password
from oxherd.servers.node import Node
from oxherd.servers.polling import wait_until
from oxherd.servers.ports import free_ports

_SETTLE_SECONDS = 60.0

# For each node: its id, its primary's id, its slots, whether it is healthy.
_View: TypeAlias = frozenset[tuple[str, str | None, frozenset[int], bool]]


class LocalCluster(LocalTopology):
    """`primaries` nodes on 127.0.0.1 with `replicas` each, in a new folder in `directory`, which `stop` removes.

    `settings` adds to the configuration of every node; its password is
    a random one unless given. `nodes` lists the first primaries, then each one's replicas.
    The nodes end with this process.
    """

    _name = "local cluster"

    def __init__(
        self,
        *,
        primaries: int = 3,
        replicas: int = 1,
        directory: Path | None = None,
        password: str | None = None,
        settings: Settings | None = None,
    ) -> None:
        super().__init__(directory)
        self._primaries = primaries
        self._replicas = replicas
        self._password = new_password() if password is None else password
        self._settings: Settings = settings or {}
        self.nodes: list[Node] = []

    @property
    def url(self) -> str:
        """The URL for clients, which names all nodes."""
        secret = f":{quote(self._password, safe='')}@"
        return "redis+cluster://" + secret + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def stop(self) -> None:
        """Kill all nodes and remove their folder; may be called twice."""
        super().stop()
        self.nodes = []

    def answering(self) -> list[Node]:
        """The nodes that are running and not paused."""
        return [node for node in self.nodes if node.answering]

    def primaries(self) -> list[Node]:
        """The primaries that answer."""
        return [node for node in self.answering() if node.role() == "primary"]

    def wait_stable(self, timeout: float = _SETTLE_SECONDS) -> None:
        """Return when the nodes that answer serve all slots, agree on their owners, and replicas are in sync."""
        wait_until(self._stable, timeout=timeout, what="the local cluster agrees on its slots")

    def primary_of(self, key: str | int) -> Node:
        """The primary of a key, or of a slot given as a number; the one with the latest epoch if several claim it."""
        slot = key if isinstance(key, int) else key_slot(key)
        claims = [(node.myself(), node) for node in self.answering()]
        owners = [(member.epoch, node) for member, node in claims if "master" in member.flags and slot in member.slots]
        if not owners:
            raise ServerError(f"No node that answers serves slot {slot}: call wait_stable() first.")
        return max(owners, key=lambda owner: owner[0])[1]

    def replica_of(self, node: Node) -> Node:
        """A replica of `node` that answers."""
        for other in self.answering():
            if other is not node and other.myself().primary_id == node.id:
                return other
        raise ServerError(f"The node on port {node.port} has no replica that answers: restart one.")

    def failover(self, replica: Node, *, timeout: float = _SETTLE_SECONDS) -> None:
        """Promote `replica` without loss (CLUSTER FAILOVER), and wait until all nodes that answer know."""
        replica.command("CLUSTER", "FAILOVER")
        wait_until(lambda: replica.role() == "primary", timeout=timeout, what=f"{replica!r} is a primary")
        self.wait_stable(timeout)

    def add_primary(self) -> Node:
        """Start one more primary, without slots, and wait until all nodes that answer know it."""
        assert self.directory is not None, "start it first"  # noqa: S101
        node = self._new_node(self.directory, *free_ports(2))
        node.start()
        node.command("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port, self.nodes[0].bus_port)
        self.nodes.append(node)
        self.wait_stable()
        return node

    def cut_off(self, node: Node) -> None:
        """Cut a node off from the other nodes, but not from clients; needs `enable-debug-command local`."""
        # It neither connects to the others nor reads what they send.
        node.command("DEBUG", "DROP-CLUSTER-PACKET-FILTER", -2)
        node.command("DEBUG", "DISABLE-CLUSTER-RECONNECTION", 1)
        for other in self.answering():
            if other is not node:
                node.command("DEBUG", "CLUSTERLINK", "KILL", "all", other.id)

    def reconnect(self, node: Node) -> None:
        """Connect a node to the others again, after `cut_off`."""
        node.command("DEBUG", "DISABLE-CLUSTER-RECONNECTION", 0)
        node.command("DEBUG", "DROP-CLUSTER-PACKET-FILTER", -1)

    def move_slot(self, slot: int, target: Node) -> None:
        """Move `slot` with its keys to the primary `target`."""
        self.begin_move(slot, target)
        self.move_keys(slot, target)
        self.end_move(slot, target)

    def begin_move(self, slot: int, target: Node) -> None:
        """Begin to move a slot: its primary now answers ASK for keys that it does not have."""
        source = self.primary_of(slot)
        if source is target:
            raise ServerError(f"The node on port {target.port} already has slot {slot}: choose another.")
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)

    def move_keys(self, slot: int, target: Node, *, limit: int | None = None) -> int:
        """Move the keys of a slot, at most `limit`; returns how many were moved."""
        source = self.primary_of(slot)
        secret = ["AUTH", self._password]
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
        """Make `target` the primary of the slot, and wait until all nodes that answer know."""
        source = self.primary_of(slot)
        # The target first, or for a moment no node would have the slot.
        for node in (target, source):
            node.command("CLUSTER", "SETSLOT", slot, "NODE", target.id)
        wait_until(lambda: self._all_know(slot, target), timeout=_SETTLE_SECONDS, what=f"slot {slot} has moved")

    def _processes(self) -> list[Node]:
        return self.nodes

    def _start_all(self, directory: Path) -> None:
        ports = free_ports(2 * self._primaries * (1 + self._replicas))
        for port, bus_port in zip(ports[::2], ports[1::2], strict=True):
            self.nodes.append(self._new_node(directory, port, bus_port))
            self.nodes[-1].launch()
        for node in self.nodes:
            node.wait_ready()
        self._form()

    def _new_node(self, directory: Path, port: int, bus_port: int) -> Node:
        return Node(directory / str(port), port, bus_port, self._settings, self._password)

    def _form(self) -> None:
        for epoch, node in enumerate(self.nodes, 1):
            # Equal epochs would first have to be resolved among the nodes.
            node.command("CLUSTER", "SET-CONFIG-EPOCH", epoch)
        edges = [SLOTS * index // self._primaries for index in range(self._primaries + 1)]
        for node, (first, after) in zip(self.nodes, pairwise(edges), strict=False):
            node.command("CLUSTER", "ADDSLOTSRANGE", first, after - 1)
        for index, node in enumerate(self.nodes):
            for other in self.nodes[index + 1 :]:
                # Every pair, since gossip takes seconds.
                node.command("CLUSTER", "MEET", "127.0.0.1", other.port, other.bus_port)
        for index, replica in enumerate(self.nodes[self._primaries :]):
            primary = self.nodes[index // self._replicas]
            wait_until(
                lambda r=replica, p=primary: r.knows(p),
                timeout=_SETTLE_SECONDS,
                what=f"{replica!r} has met {primary!r}",
            )
            replica.command("CLUSTER", "REPLICATE", primary.id)

    def _stable(self) -> bool:
        nodes = self.answering()
        try:
            views = {self._view(node) for node in nodes}
            return (
                len(views) == 1
                and self._is_complete(views.pop(), len(nodes))
                and all(node.cluster_info()["cluster_state"] == "ok" for node in nodes)
                and all(node.linked() for node in nodes if node.role() == "replica")
            )
        except ReplyError as error:
            if error.code != "LOADING":
                raise
            return False  # a replica is loading its primary's data

    def _view(self, node: Node) -> _View:
        """How `node` sees the nodes that answer; views of the others may differ."""
        answering = {other.id for other in self.answering()}
        return frozenset(
            (member.id, member.primary_id, member.slots, member.healthy)
            for member in node.members()
            if member.id in answering
        )

    @staticmethod
    def _is_complete(view: _View, nodes: int) -> bool:
        # The slots of a node that does not answer don't count, even if the others have not noticed yet.
        return len(view) == nodes and all(member[3] for member in view) and sum(len(m[2]) for m in view) == SLOTS

    def _all_know(self, slot: int, target: Node) -> bool:
        return all(
            slot in member.slots for node in self.answering() for member in node.members() if member.id == target.id
        )
