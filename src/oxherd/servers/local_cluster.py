"""A real cluster on this machine, for tests, drills and development."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeAlias
from urllib.parse import quote

from oxherd.errors import ServerError
from oxherd.redis.blocking import ReplyError
from oxherd.redis.client import key_slot
from oxherd.redis.topology import SLOTS
from oxherd.servers.node import Node
from oxherd.servers.polling import wait_until
from oxherd.servers.ports import free_ports
from oxherd.servers.process import PortTaken
from oxherd.servers.resharding import Resharding
from oxherd.servers.workdir import new_workdir, remove_workdir

_ATTEMPTS = 5  # at finding ports that nobody else takes in the meantime
_SETTLE = 60.0  # seconds, on a machine that is busy with much else

# Of each node: id, id of its primary, slots, health.
_View: TypeAlias = frozenset[tuple[str, str | None, frozenset[int], bool]]


class LocalCluster(Resharding):
    """`primaries` nodes with `replicas` each on 127.0.0.1, in a new folder in `directory` (default: a temporary one).

    `node_timeout` is in milliseconds, `config` are lines for every node's configuration. `stop` removes the folder;
    the nodes also end with this process. `nodes` are in order: the first primaries, then each primary's replicas.
    """

    def __init__(
        self,
        *,
        primaries: int = 3,
        replicas: int = 1,
        directory: Path | None = None,
        node_timeout: int = 2000,
        appendonly: bool = True,
        password: str | None = None,
        config: Sequence[str] = (),
    ) -> None:
        super().__init__(password)
        self._primaries = primaries
        self._replicas = replicas
        self._parent = directory
        self._node_timeout = node_timeout
        self._appendonly = appendonly
        self._config = config
        self.directory: Path | None = None

    @property
    def url(self) -> str:
        """What a client connects to: all nodes."""
        secret = "" if self._password is None else f":{quote(self._password, safe='')}@"
        return "redis+cluster://" + secret + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> None:
        """Start and form the cluster; return when it serves all slots and every replica is in step."""
        if self.nodes:
            raise ServerError("The local cluster runs already: stop it first.")
        try:
            self._start_nodes()
            self._form()
            self.wait_stable()
        except OSError as error:
            self.stop()
            raise ServerError(
                f"The local cluster could not be started ({error}): see to that and try again."
            ) from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill all nodes and remove their folder; without effect if there are none."""
        for node in self.nodes:
            node.kill()
        self.nodes = []
        if self.directory is not None:
            remove_workdir(self.directory)
            self.directory = None

    def wait_stable(self, timeout: float = _SETTLE) -> None:
        """Return when the nodes that answer have all slots and agree on who has which, and replicas are in step."""
        wait_until(self._stable, seconds=timeout, what="the local cluster agrees on its slots")

    def primary_of(self, key: str | int) -> Node:
        """The primary that serves a key, or a slot given as a number: of several claimants the latest."""
        slot = key if isinstance(key, int) else key_slot(key)
        claims = [(node.myself(), node) for node in self.answering()]
        owners = [(member.epoch, node) for member, node in claims if "master" in member.flags and slot in member.slots]
        if not owners:
            raise ServerError(f"No node that answers serves slot {slot}: wait_stable() first.")
        return max(owners, key=lambda owner: owner[0])[1]

    def replica_of(self, node: Node) -> Node:
        """A replica of `node` that answers."""
        for other in self.answering():
            if other is not node and other.myself().primary_id == node.id:
                return other
        raise ServerError(f"The node on port {node.port} has no replica that answers: restart one.")

    def failover(
        self, replica: Node, mode: Literal["FORCE", "TAKEOVER"] | None = None, *, timeout: float = _SETTLE
    ) -> None:
        """Make `replica` the primary and wait until all nodes that answer have seen it.

        Without a `mode` its primary must be alive and hands over without loss; see CLUSTER FAILOVER for the others.
        """
        replica.command("CLUSTER", "FAILOVER", *([mode] if mode else []))
        wait_until(lambda: replica.role() == "primary", seconds=timeout, what=f"{replica!r} became a primary")
        self.wait_stable(timeout)

    def add_primary(self) -> Node:
        """Start one more node, which has no slots yet, and wait until all that answer know it."""
        port, bus_port = free_ports(2)
        node = self._new_node(port, bus_port)
        node.start()
        node.command("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port, self.nodes[0].bus_port)
        self.nodes.append(node)
        self.wait_stable()
        return node

    def cut_off(self, node: Node) -> None:
        """Cut a node off from the other nodes, though clients reach it still; needs `enable-debug-command local`."""
        # It calls nobody, and does not hear those that call.
        node.command("DEBUG", "DROP-CLUSTER-PACKET-FILTER", -2)
        node.command("DEBUG", "DISABLE-CLUSTER-RECONNECTION", 1)
        for other in self.answering():
            if other is not node:
                node.command("DEBUG", "CLUSTERLINK", "KILL", "all", other.id)

    def reconnect(self, node: Node) -> None:
        """The end of a `cut_off`."""
        node.command("DEBUG", "DISABLE-CLUSTER-RECONNECTION", 0)
        node.command("DEBUG", "DROP-CLUSTER-PACKET-FILTER", -1)

    def _start_nodes(self) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._start_on_free_ports()
            except PortTaken:
                if attempt == _ATTEMPTS:
                    raise
                self.stop()
            else:
                return

    def _start_on_free_ports(self) -> None:
        self.directory = new_workdir(self._parent)
        self.directory.mkdir(mode=0o700, parents=True)
        ports = free_ports(2 * self._primaries * (1 + self._replicas))
        for port, bus_port in zip(ports[::2], ports[1::2], strict=True):
            node = self._new_node(port, bus_port)
            self.nodes.append(node)
            node.begin()
        for node in self.nodes:
            node.wait_ready()

    def _new_node(self, port: int, bus_port: int) -> Node:
        return Node(
            (self.directory or Path()) / str(port),
            port,
            bus_port,
            node_timeout=self._node_timeout,
            appendonly=self._appendonly,
            config=self._config,
            password=self._password,
        )

    def _form(self) -> None:
        for epoch, node in enumerate(self.nodes, 1):
            # Different from the start, or the nodes first have to settle who yields.
            node.command("CLUSTER", "SET-CONFIG-EPOCH", epoch)
        edges = [SLOTS * index // self._primaries for index in range(self._primaries + 1)]
        for node, (first, after) in zip(self.nodes, pairwise(edges), strict=False):
            node.command("CLUSTER", "ADDSLOTSRANGE", first, after - 1)
        for index, node in enumerate(self.nodes):
            for other in self.nodes[index + 1 :]:
                # Every pair, since word of mouth takes seconds.
                node.command("CLUSTER", "MEET", "127.0.0.1", other.port, other.bus_port)
        for index, replica in enumerate(self.nodes[self._primaries :]):
            primary = self.nodes[index // self._replicas]
            wait_until(lambda r=replica, p=primary: r.knows(p), seconds=_SETTLE, what=f"{replica!r} met {primary!r}")
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
            # A replica takes over its primary's data.
            return False

    def _view(self, node: Node) -> _View:
        """What `node` thinks of the nodes that answer; of the others it may have heard or not."""
        answering = {other.id for other in self.answering()}
        return frozenset(
            (member.id, member.primary_id, member.slots, member.healthy)
            for member in node.members()
            if member.id in answering
        )

    @staticmethod
    def _is_complete(view: _View, nodes: int) -> bool:
        # Slots of a node that does not answer do not count, though the others may not have noticed yet.
        return len(view) == nodes and all(member[3] for member in view) and sum(len(m[2]) for m in view) == SLOTS

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
