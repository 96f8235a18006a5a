"""Sends commands to the node that serves their slot, follows redirections, and notes outages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from redis.crc import key_slot as _key_slot
from redis.exceptions import (
    AskError,
    BusyLoadingError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
    ResponseError,
)

from oxherd.errors import RedisUnavailable
from oxherd.redis.blocking_connections import BlockingConnections, Unanswered
from oxherd.redis.call_state import CallState
from oxherd.redis.error_mapping import describe, server_refusal, slot_moves, unreachable
from oxherd.redis.node import Node
from oxherd.redis.outage import CLUSTER, Outages
from oxherd.redis.pipelined_connection import pack
from oxherd.redis.topology import Topology, make_topology
from oxherd.redis.url import Address, RedisURL

Argument = str | bytes | int | float

_MAX_REDIRECTIONS = 16
_ASKING = pack(("ASKING",))


class ScriptError(Exception):
    """The server refused a command for a reason of the command's own (a damaged key, a failed script): no outage."""


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script, called by its SHA1; the text is sent when the server does not know it."""

    name: str
    text: bytes
    sha: bytes
    keys: int


@dataclass(frozen=True, slots=True)
class SentScript:
    """A script's call that has been sent."""

    node: Node
    packed: bytes
    reply: asyncio.Future[Any]


def pack_command(*command: Argument) -> bytes:
    """A command in the wire format."""
    return pack(command)


def pack_script(script: Script, arguments: tuple[Argument, ...]) -> bytes:
    """A script's call in the wire format; the server must know the script."""
    return pack((b"EVALSHA", script.sha, script.keys, *arguments))


def key_slot(key: str) -> int:
    """The cluster slot of a key, by its hash tag if it has one."""
    return _key_slot(key.encode())


class Client:
    """A process's access to Redis: implicit pipelining over one connection for each node.

    `restart` starts a server again that is ours to start; it blocks.
    """

    def __init__(self, url: RedisURL, outages: Outages, restart: Callable[[], None] | None = None) -> None:
        self.url = url
        self.outages = outages
        self.topology: Topology = make_topology(url, outages, restart)
        self._blocking = BlockingConnections(url)

    async def call(self, slot: int, *command: Argument, quiet: bool = False) -> Any:
        """The reply to a command, in one attempt, redirections followed; with `quiet` a refusal is no outage.

        Raises:
            RedisUnavailable: the server cannot be reached, or does not serve us now.
            ScriptError: the server replied with an error of the command itself.
        """
        return await self._attempt(slot, pack(command), None if quiet else str(command[0]))

    async def connect(self, slot: int) -> None:
        """Connect to the node of `slot`, unless connected. Raises RedisUnavailable as `call`."""
        node = await self.topology.node(slot)
        try:
            await node.connect()
        except RedisUnavailable as error:
            await self._refresh(error)
            raise

    def send(self, slot: int, script: Script, arguments: tuple[Argument, ...]) -> SentScript | None:
        """Send a script at once, to be handed to `script` if its reply is an error; None if there is no connection."""
        node = self.topology.current(slot)
        connection = node.connection if node is not None else None
        if node is None or connection is None:
            return None
        packed = pack_script(script, arguments)
        return SentScript(node, packed, connection.send(packed, at_once=True))

    def ask(self, slot: int, packed: bytes, seconds: float) -> Any:
        """The reply to a packed call, from a thread without an event loop, which it blocks for at most `seconds`.

        Only where all is well as far as is known.

        Raises:
            Unanswered: there is no reply, or it is an error, a redirection too; call again in the event loop.
        """
        node = None if self.outages.open else self.topology.current(slot)
        if node is None or node.address is None:
            raise Unanswered(sent=False)
        return self._blocking.ask(node.address, packed, seconds)

    async def script(
        self,
        slot: int,
        script: Script,
        arguments: tuple[Argument, ...],
        *,
        state: CallState | None = None,
        sent: SentScript | None = None,
        confirm_by: float | None = None,
    ) -> Any:
        """The reply to a script, in one attempt; `arguments` are its keys, then its arguments. Raises as `call`.

        `sent` is what `send` returned for the same script and arguments. With `confirm_by` (monotonic seconds) the
        reply waits until the replicas or the disk have what the script wrote; raises `Unconfirmed` if they do not.
        """
        packed = pack_script(script, arguments) if sent is None else sent.packed
        try:
            return await self._attempt(slot, packed, script, state, sent, confirm_by)
        except NoScriptError:
            packed = pack((b"EVAL", script.text, script.keys, *arguments))
            return await self._attempt(slot, packed, script, state, confirm_by=confirm_by)

    def has_outage(self, slot: int) -> bool:
        """Whether the node of a slot, or the cluster, has an outage."""
        if not self.outages.open:
            return False
        node = self.topology.current(slot)
        return any(name in (CLUSTER, None if node is None else node.name) for name in self.outages.nodes())

    async def reconnect(self, slot: int) -> None:
        """Drop the connection to the node of a slot; the next call opens another."""
        node = self.topology.current(slot)
        if node is not None:
            await node.disconnect()

    async def close(self) -> None:
        """Close every connection."""
        self._blocking.close()
        await self.topology.close()

    async def _attempt(
        self,
        slot: int,
        packed: bytes,
        called: Script | str | None,
        state: CallState | None = None,
        sent: SentScript | None = None,
        confirm_by: float | None = None,
    ) -> Any:
        topology = self.topology
        node = topology.current(slot) or await topology.node(slot) if sent is None else sent.node
        asking = False
        for _ in range(_MAX_REDIRECTIONS):
            try:
                if sent is not None:
                    future, sent = sent.reply, None
                elif confirm_by is not None:
                    future = _send_durable(node, packed, asking, confirm_by, state)
                else:
                    connection = node.connection or await node.connect()
                    future = connection.send(_ASKING + packed, 2) if asking else connection.send(packed)
                if state is None or confirm_by is not None:
                    reply = await future
                else:
                    reply = await _tracked(future, state)
            except MovedError as error:
                topology.moved(slot, _address(error))
                node, asking = await topology.node(slot), False
                continue
            except AskError as error:
                node, asking = topology.node_at(_address(error)), True
                continue
            except ResponseError as error:
                error.__traceback__ = None  # the future keeps the error, which must not keep the frames of this call
                raise await self._refused(node, slot, error, called, state) from None
            except RedisUnavailable as error:
                await self._refresh(error)
                raise
            if self.outages.open and called is not None:
                self.outages.up(node.name, _cause(called))
                self.outages.up(CLUSTER, f"slot {slot}")
            return reply
        raise unreachable(node.name, "the cluster redirects us in circles", maybe_applied=False)

    async def _refused(
        self, node: Node, slot: int, error: ResponseError, called: Script | str | None, state: CallState | None
    ) -> Exception:
        if isinstance(error, NoScriptError):
            return NoScriptError(*error.args)
        fault = server_refusal(error, node.name, called.text if isinstance(called, Script) else b"")
        if fault is None:
            return ScriptError(describe(error))
        if state is not None and fault.maybe_applied:
            state.maybe_applied = True
        if called is None or slot_moves(error):
            return fault
        if fault.source == "cluster":
            self.outages.down(CLUSTER, "cluster", fault, f"slot {slot}")
        else:
            self.outages.down(node.name, fault.source, fault, _cause(called))
        if isinstance(error, ReadOnlyError | BusyLoadingError):
            # A demoted primary: another one serves now.
            await node.disconnect()
        await self._refresh(fault)
        return fault

    async def _refresh(self, fault: RedisUnavailable) -> None:
        if fault.source == "auth":
            return
        try:
            await self.topology.refresh()
        except RedisUnavailable:
            # The caller gets its own failure; that the cluster cannot be asked is an outage already noted.
            return


def _cause(called: Script | str) -> str:
    return called if isinstance(called, str) else called.name


def _send_durable(
    node: Node, packed: bytes, asking: bool, confirm_by: float, state: CallState | None
) -> asyncio.Future[Any]:
    state = state or CallState()
    return node.durable_writes.send(_ASKING + packed if asking else packed, 2 if asking else 1, confirm_by, state)


def _address(error: AskError) -> Address:
    host, port = cast("tuple[str, int]", cast("Any", error).node_addr)
    return Address(host, port)


async def _tracked(reply: asyncio.Future[Any], state: CallState) -> Any:
    """The reply to a call that has been sent; `state` says, even after a cancellation, whether it may have run."""
    before = state.maybe_applied
    state.maybe_applied = True
    try:
        return await reply
    except RedisUnavailable as error:
        state.maybe_applied = before or error.maybe_applied
        raise
    except ResponseError:
        state.maybe_applied = before
        raise
