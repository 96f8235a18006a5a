"""Sends commands to the node that serves their slot, follows the cluster, and waits through outages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

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
from oxherd.redis.call_state import CallState
from oxherd.redis.error_mapping import describe, lost, server_state, slot_moves
from oxherd.redis.node import Node
from oxherd.redis.outage import CLUSTER, Outages
from oxherd.redis.pipelined_connection import PipelinedConnection, pack
from oxherd.redis.retry import retry
from oxherd.redis.topology import Topology, make_topology
from oxherd.redis.url import Address, RedisURL

Argument = str | bytes | int | float
T = TypeVar("T")

_REDIRECTIONS = 16
_ASKING = pack(("ASKING",))


class ScriptError(Exception):
    """The server refused a command for a reason of its own (a damaged key, a script that failed): not an outage."""


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script, called by its SHA1; the server is given the text when it does not know it."""

    name: str
    text: bytes
    sha: bytes
    keys: int


@dataclass(frozen=True, slots=True)
class Begun:
    """A command that is on its way already."""

    node: Node
    packed: bytes
    future: asyncio.Future[Any]


def pack_command(*command: Argument) -> bytes:
    """A command as it is sent."""
    return pack(command)


def pack_script(script: Script, arguments: tuple[Argument, ...]) -> bytes:
    """A script's call as it is sent; the server must know the script."""
    return pack((b"EVALSHA", script.sha, script.keys, *arguments))


def key_slot(key: str) -> int:
    """The cluster slot of a key, by its hash tag where it has one."""
    return _key_slot(key.encode())


class Client:
    """One process's way to Redis: implicit pipelining on one connection for each node."""

    def __init__(self, url: RedisURL, outages: Outages) -> None:
        self.url = url
        self.outages = outages
        self.topology: Topology = make_topology(url, outages)

    async def call(self, slot: int, *command: Argument, quiet: bool = False) -> Any:
        """One attempt at a command, redirections followed; `quiet`: a refusal is no outage.

        Raises:
            RedisUnavailable: the server cannot be reached or does not serve us now.
            ScriptError: the server answered with an error of the command itself.
        """
        return await self._attempt(slot, pack(command), None if quiet else str(command[0]))

    async def connected(self, slot: int) -> None:
        """Connect to the node that serves `slot`, unless that is done. Raises RedisUnavailable as `call`."""
        node = await self.topology.node(slot)
        try:
            await node.wire()
        except RedisUnavailable as error:
            await self._look(error)
            raise

    def begin(self, slot: int, script: Script, arguments: tuple[Argument, ...]) -> Begun | None:
        """Send a script at once, to be handed to `finish`; None while there is no connection."""
        node = self.topology.current(slot)
        wire = node.live if node is not None else None
        if node is None or wire is None:
            return None
        packed = pack_script(script, arguments)
        begun = Begun(node, packed, wire.send(packed))
        wire.flush()
        return begun

    async def script(
        self,
        slot: int,
        script: Script,
        arguments: tuple[Argument, ...],
        *,
        attempts: CallState | None = None,
        begun: Begun | None = None,
        until: float | None = None,
    ) -> Any:
        """One attempt at a script; `arguments` are its keys, then its arguments. Raises as `call` does.

        `begun` is what `begin` answered for the same script and arguments. With `until` (monotonic seconds) it is
        answered once the replicas, or the disk, have what it wrote; raises `Unconfirmed` where they do not.
        """
        packed = pack_script(script, arguments) if begun is None else begun.packed
        try:
            return await self._attempt(slot, packed, script, attempts, begun, until)
        except NoScriptError:
            packed = pack((b"EVAL", script.text, script.keys, *arguments))
            return await self._attempt(slot, packed, script, attempts, until=until)

    async def persist(
        self,
        slot: int,
        script: Script,
        arguments: tuple[Argument, ...],
        *,
        deadline: float | None = None,
        attempts: CallState | None = None,
        until: float | None = None,
    ) -> Any:
        """A script that must succeed: tried again through outages until `deadline` (monotonic seconds, None: for ever).

        `attempts` tells, also when this is cancelled, whether one of the attempts may have run. `until` as `script`.
        """
        return await retry(
            lambda: self.script(slot, script, arguments, attempts=attempts, until=until),
            deadline=deadline,
            attempts=attempts,
        )

    def away(self, slot: int) -> bool:
        """Whether the node of a slot, or the cluster, has an outage."""
        if not self.outages.open:
            return False
        node = self.topology.current(slot)
        return any(name in (CLUSTER, None if node is None else node.name) for name in self.outages.nodes())

    async def reconnect(self, slot: int) -> None:
        """Leave the connection to the node of a slot; the next call makes another."""
        node = self.topology.current(slot)
        if node is not None:
            await node.drop()

    async def close(self) -> None:
        """Close every connection."""
        await self.topology.close()

    async def _attempt(
        self,
        slot: int,
        packed: bytes,
        called: Script | str | None,
        attempts: CallState | None = None,
        begun: Begun | None = None,
        until: float | None = None,
    ) -> Any:
        topology = self.topology
        node = topology.current(slot) or await topology.node(slot) if begun is None else begun.node
        asking = False
        for _ in range(_REDIRECTIONS):
            try:
                if begun is not None:
                    future, begun = begun.future, None
                elif until is not None:
                    future = _confirmed(node, packed, asking, until, attempts)
                else:
                    wire: PipelinedConnection = node.live or await node.wire()
                    future = wire.send(_ASKING + packed, 2) if asking else wire.send(packed)
                if attempts is None or until is not None:
                    reply = await future
                else:
                    reply = await _noting(future, attempts)
            except MovedError as error:
                topology.moved(slot, _address(error))
                node, asking = await topology.node(slot), False
                continue
            except AskError as error:
                node, asking = topology.at(_address(error)), True
                continue
            except ResponseError as error:
                raise await self._refused(node, slot, error, called, attempts) from None
            except RedisUnavailable as error:
                await self._look(error)
                raise
            if self.outages.open and called is not None:
                self.outages.up(node.name, _cause(called))
                self.outages.up(CLUSTER, f"slot {slot}")
            return reply
        raise lost(node.name, "the cluster sends us in circles", maybe_applied=False)

    async def _refused(
        self, node: Node, slot: int, error: ResponseError, called: Script | str | None, attempts: CallState | None
    ) -> Exception:
        if isinstance(error, NoScriptError):
            return error
        fault = server_state(error, node.name, called.text if isinstance(called, Script) else b"")
        if fault is None:
            return ScriptError(describe(error))
        if attempts is not None and fault.maybe_applied:
            attempts.maybe_applied = True
        if called is None or slot_moves(error):
            return fault
        if fault.source == "cluster":
            self.outages.down(CLUSTER, "cluster", fault, f"slot {slot}")
        else:
            self.outages.down(node.name, fault.source, fault, _cause(called))
        if isinstance(error, ReadOnlyError | BusyLoadingError):
            # A demoted primary: another one serves now.
            await node.drop()
        await self._look(fault)
        return fault

    async def _look(self, fault: RedisUnavailable) -> None:
        if fault.source == "auth":
            return
        try:
            await self.topology.refresh()
        except RedisUnavailable:
            # The caller is told of its own failure; that the cluster cannot be asked is an outage already noted.
            return


def _cause(called: Script | str) -> str:
    return called if isinstance(called, str) else called.name


def _confirmed(
    node: Node, packed: bytes, asking: bool, until: float, attempts: CallState | None
) -> asyncio.Future[Any]:
    attempts = attempts or CallState()
    return node.confirm.send(_ASKING + packed if asking else packed, 2 if asking else 1, until, attempts)


def _address(error: AskError) -> Address:
    host, port = cast("tuple[str, int]", cast("Any", error).node_addr)
    return Address(host, port)


async def _noting(reply: Awaitable[T], attempts: CallState) -> T:
    """The reply to what has been sent; `attempts` knows, also when this is cancelled, whether it may have run."""
    before = attempts.maybe_applied
    attempts.maybe_applied = True
    try:
        return await reply
    except RedisUnavailable as error:
        attempts.maybe_applied = before or error.maybe_applied
        raise
    except (ResponseError, ScriptError):
        attempts.maybe_applied = before
        raise
