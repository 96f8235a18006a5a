"""Which node serves a slot: standalone, Sentinel and cluster behind one interface."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from typing import Any, Protocol

from redis.exceptions import RedisError

from oxherd.errors import RedisUnavailable
from oxherd.redis.connection import ask, close_connection, open_connection
from oxherd.redis.error_mapping import common_source, describe, unreachable
from oxherd.redis.futures import await_shared, mark_retrieved
from oxherd.redis.node import Node
from oxherd.redis.outage import CLUSTER, Outages
from oxherd.redis.url import Address, RedisURL

SLOTS = 16384
_REFRESH_SECONDS = 0.2


class Topology(Protocol):
    """Finds the node that serves a slot, and learns when that changes."""

    def current(self, slot: int) -> Node | None:
        """The node that serves `slot` as far as is known, without asking."""
        ...

    async def node(self, slot: int) -> Node:
        """The node that serves `slot` now; raises RedisUnavailable while none does."""
        ...

    def moved(self, slot: int, address: Address) -> None:
        """Note that `slot` is at `address` (MOVED)."""
        ...

    def node_at(self, address: Address) -> Node:
        """The node at an address (ASK)."""
        ...

    async def refresh(self) -> None:
        """Fetch the slot map again, if there is one."""
        ...

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back whenever a slot may have moved; returns the function that ends it."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


def make_topology(url: RedisURL, outages: Outages, restart: Callable[[], None] | None = None) -> Topology:
    """The topology of a URL, not connected yet; `restart` as for `Node`, for a single server."""
    if url.topology == "cluster":
        return Cluster(url, outages)
    resolve = _resolver(url)
    name = str(url.seeds[0]) if url.topology == "standalone" else url.service
    return Single(Node(name, url, resolve, outages, restart))


class Single:
    """One server for all slots: standalone, or the primary that Sentinel names."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def current(self, slot: int) -> Node | None:  # noqa: ARG002 - one node serves all
        return self._node

    async def node(self, slot: int) -> Node:  # noqa: ARG002
        return self._node

    def moved(self, slot: int, address: Address) -> None:  # noqa: ARG002
        self.node_at(address)

    def node_at(self, address: Address) -> Node:
        reason = f"it is a cluster node, and redirects to {address}; use redis+cluster://"
        raise unreachable(self._node.name, reason, maybe_applied=False)

    async def refresh(self) -> None:
        return

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:  # noqa: ARG002 - it never changes
        return lambda: None

    async def close(self) -> None:
        await self._node.close()


class Cluster:
    """The slot map of a Redis Cluster, from CLUSTER SLOTS, MOVED and failures."""

    def __init__(self, url: RedisURL, outages: Outages) -> None:
        self._url = url
        self._outages = outages
        self._nodes: dict[Address, Node] = {}
        self._slots: list[Node | None] = [None] * SLOTS
        self._refreshing: asyncio.Task[None] | None = None
        self._refreshed_at = 0.0
        self._callbacks: list[Callable[[], None]] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    def current(self, slot: int) -> Node | None:
        return self._slots[slot]

    async def node(self, slot: int) -> Node:
        node = self._slots[slot]
        if node is None:
            await self.refresh()
            node = self._slots[slot]
        if node is None:
            error = RedisUnavailable(
                f"No node of the cluster serves slot {slot}; check CLUSTER INFO.", source="cluster", node=CLUSTER
            )
            self._outages.down(CLUSTER, "cluster", error, f"slot {slot}")
            raise error
        return node

    def moved(self, slot: int, address: Address) -> None:
        self._slots[slot] = self.node_at(address)
        self._changed()
        self._start_refresh()

    def node_at(self, address: Address) -> Node:
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = Node(str(address), self._url, _constant(address), self._outages)
        return node

    async def refresh(self) -> None:
        await await_shared(self._start_refresh(), CLUSTER)

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    async def close(self) -> None:
        self._closed = True
        if self._refreshing is not None and not self._refreshing.done():
            self._refreshing.cancel()
            await asyncio.wait([self._refreshing])
        await asyncio.gather(*(node.close() for node in self._nodes.values()), *self._closing)

    def _start_refresh(self) -> asyncio.Task[None]:
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._refresh(), name="oxherd-cluster-slots", context=Context())
            self._refreshing.add_done_callback(mark_retrieved)
        return self._refreshing

    async def _refresh(self) -> None:
        # In a failover many callers fail at once.
        await asyncio.sleep(max(0.0, self._refreshed_at + _REFRESH_SECONDS - time.monotonic()))
        began = self._refreshed_at = time.monotonic()
        serving = [node.name for node in self._nodes.values() if node.connection is not None]
        addresses = [address for address in self._nodes if str(address) in serving]
        addresses += [seed for seed in (*self._nodes, *self._url.seeds) if seed not in addresses]
        errors: dict[Address, Exception] = {}
        for address in dict.fromkeys(addresses):
            try:
                self._apply(await query(self._url, address, "CLUSTER", "SLOTS"), address)
            except (RedisError, OSError) as error:
                errors[address] = error
            else:
                return
        fault = RedisUnavailable(
            f"No node of the cluster can be reached ({_describe_all(errors)}); check the nodes and the URL.",
            source=common_source(errors.values()),
            node=",".join(map(str, self._url.seeds)),
        )
        self._outages.down(CLUSTER, fault.source, fault, since=began)
        raise fault

    def _apply(self, ranges: list[Any], asked: Address) -> None:
        slots: list[Node | None] = [None] * SLOTS
        for first, last, primary, *_ in ranges:
            host = (primary[0] or b"").decode()
            # An empty or unknown host means the one that was asked.
            address = Address(host if host not in {"", "?"} else asked.host, int(primary[1]))
            slots[first : last + 1] = [self.node_at(address)] * (last - first + 1)
        changed = slots != self._slots
        self._slots = slots
        used = {id(node) for node in slots}
        for address, node in list(self._nodes.items()):
            if id(node) not in used:
                del self._nodes[address]
                self._outages.forget(node.name)
                task = asyncio.create_task(node.close())
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
        self._outages.up(CLUSTER)
        if None not in slots:
            self._outages.forget(CLUSTER)
        if changed:
            self._changed()

    def _changed(self) -> None:
        for callback in self._callbacks:
            callback()


async def query(url: RedisURL, address: Address, *command: str, sentinel: bool = False) -> Any:
    """The reply to one command, over a connection of its own; for discovery only."""
    connection = await open_connection(url, address, sentinel=sentinel)
    try:
        return await ask(connection, *command)
    finally:
        await close_connection(connection)


def _resolver(url: RedisURL) -> Callable[[], Awaitable[Address]]:
    if url.topology == "standalone":
        return _constant(url.seeds[0])

    async def primary() -> Address:
        errors: dict[Address, Exception] = {}
        for seed in url.seeds:
            try:
                reply = await query(url, seed, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", url.service, sentinel=True)
            except (RedisError, OSError) as error:
                errors[seed] = error
                continue
            if reply is not None:
                return Address(reply[0].decode(), int(reply[1]))
            errors[seed] = LookupError("it does not know the service")
        reason = f"no Sentinel names a primary ({_describe_all(errors)})"
        raise unreachable(url.service, reason, maybe_applied=False, source=common_source(errors.values()))

    return primary


def _describe_all(errors: Mapping[Address, Exception]) -> str:
    return "; ".join(f"{address}: {describe(error)}" for address, error in errors.items())


def _constant(address: Address) -> Callable[[], Awaitable[Address]]:
    async def resolve() -> Address:
        return address

    return resolve
