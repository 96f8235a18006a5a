"""One node of a local cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from oxherd.errors import ServerError
from oxherd.redis.url import Address
from oxherd.servers.config import Settings
from oxherd.servers.process import ServerProcess


@dataclass(frozen=True, slots=True)
class Member:
    """A node as one line of CLUSTER NODES describes it."""

    id: str
    flags: frozenset[str]
    primary_id: str | None
    epoch: int
    slots: frozenset[int]

    @property
    def healthy(self) -> bool:
        return not self.flags & {"fail", "fail?", "handshake", "noaddr"}


class Node(ServerProcess):
    """A cluster node on 127.0.0.1: `port` for clients, `bus_port` for the other nodes."""

    def __init__(self, directory: Path, port: int, bus_port: int, settings: Settings, password: str) -> None:
        defaults: Settings = {
            "bind": "127.0.0.1",
            "port": port,
            "cluster-enabled": "yes",
            "cluster-port": bus_port,
            "cluster-config-file": "nodes.conf",
            "cluster-node-timeout": 2000,
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "repl-diskless-sync-delay": 0,
            "masterauth": password,
        }
        super().__init__(directory, Address("127.0.0.1", port), {**defaults, **settings}, password=password)
        self.bus_port = bus_port
        self._id: str | None = None

    @property
    def id(self) -> str:
        """The node's id in the cluster, the same after a restart."""
        if self._id is None:
            self._id = self.text("CLUSTER", "MYID")
        return self._id

    def members(self) -> list[Member]:
        """Every node that this one knows."""
        return [_member(*line.split(" ")) for line in self.text("CLUSTER", "NODES").splitlines()]

    def myself(self) -> Member:
        """This node as it describes itself."""
        for member in self.members():
            if "myself" in member.flags:
                return member
        raise ServerError(f"The node on port {self.port} does not list itself: start it again.")

    def knows(self, *others: Node) -> bool:
        """Whether it has met all `others` and considers them healthy."""
        healthy = {member.id for member in self.members() if member.healthy}
        return all(other.id in healthy for other in others)

    def cluster_info(self) -> dict[str, str]:
        """CLUSTER INFO as a dictionary."""
        pairs = (line.partition(":") for line in self.text("CLUSTER", "INFO").splitlines())
        return {name: value for name, _, value in pairs}

    def __repr__(self) -> str:
        return f"<Node {self.port}>"


def _member(node_id: str, _: str, flags: str, primary: str, *rest: str) -> Member:
    """Parse a line of CLUSTER NODES; `rest` is ping, pong, epoch, the link's state, and ranges of slots."""
    slots: set[int] = set()
    for slot_range in rest[4:]:
        # Slots that are being moved are in brackets.
        if not slot_range.startswith("["):
            first, _, last = slot_range.partition("-")
            slots.update(range(int(first), int(last or first) + 1))
    primary_id = None if primary == "-" else primary
    return Member(node_id, frozenset(flags.split(",")), primary_id, int(rest[2]), frozenset(slots))
