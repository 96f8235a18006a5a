"""Writes whose reply waits until the replicas (WAIT) or the disk (WAITAOF) have them.

Both commands block their connection, so these writes go over one of their own. What is called meanwhile is queued and
sent together, with one WAIT behind it, which covers everything that its connection has written.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from oxherd.errors import RedisUnavailable
from oxherd.redis.call_state import CallState, Missing, Unconfirmed
from oxherd.redis.error_mapping import describe, is_unblocked, server_refusal, unreachable
from oxherd.redis.futures import mark_retrieved
from oxherd.redis.pipelined_connection import PipelinedConnection, pack

# How long one WAIT may block: in between, the number of replicas is looked up again.
_WAIT_SECONDS = 1.0
_FIRST_WITH_WAITAOF = (7, 2)  # Valkey reports itself as Redis 7.2


@dataclass(frozen=True, slots=True)
class _Quorum:
    """Who has to confirm, and how many of them; `history` is the server's replication id."""

    members: Missing
    number: int
    history: str

    def wait(self, number: int, milliseconds: int) -> bytes:
        """The packed command that waits for `number` of them."""
        if self.members == "replicas":
            return pack(("WAIT", number, milliseconds))
        return pack(("WAITAOF", number, 0, milliseconds))

    def missed(self, confirmed: int, *, stored: bool) -> Unconfirmed:
        """The error while only `confirmed` of them have it."""
        return Unconfirmed(self.members, confirmed, self.number, stored=stored)


@dataclass(slots=True, eq=False)
class _Call:
    packed: bytes
    replies: int
    confirm_by: float
    state: CallState
    future: asyncio.Future[Any]
    stored: bool = False
    reply: Any = None


class DurableWrites:
    """One node's durable writes. `connect` opens their connection; `needs_replica`: the disk alone is not enough."""

    def __init__(self, node: str, connect: Callable[[], Awaitable[AbstractConnection]], *, needs_replica: bool) -> None:
        self._node = node
        self._connect = connect
        self._needs_replica = needs_replica
        self._connection: PipelinedConnection | None = None
        self._quorum: _Quorum | None = None
        self._confirmed = 0
        self._queued: list[_Call] = []
        self._written: list[_Call] = []
        self._running: asyncio.Task[None] | None = None

    def send(self, packed: bytes, replies: int, confirm_by: float, state: CallState) -> asyncio.Future[Any]:
        """Send packed commands that write; returns the last reply, once confirmed.

        The future's exception is redis-py's `ResponseError` if the server replied with an error; RedisUnavailable if
        the connection was lost or the server is no longer the primary, and it should be sent again; `Unconfirmed` if it
        was not confirmed by `confirm_by` (monotonic seconds), or cannot be.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queued.append(_Call(packed, replies, confirm_by, state, future))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run(), name=f"oxherd-durable-{self._node}", context=Context())
        return future

    async def disconnect(self) -> None:
        """Close the connection; the next call opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def close(self) -> None:
        """Close the connection; what is not confirmed fails as lost."""
        if self._running is not None and not self._running.done():
            self._running.cancel()
            await asyncio.wait([self._running])
        await self.disconnect()
        self._fail(self._written + self._queued, self._lost("the connection is closed", maybe_applied=False))

    async def _run(self) -> None:
        while self._has_calls():
            try:
                connection, quorum = await self._prepare()
            except (RedisUnavailable, Unconfirmed) as error:
                self._fail(self._queued, error)
                continue
            try:
                await self._write_and_wait(connection, quorum)
            except (RedisUnavailable, Unconfirmed) as error:
                self._fail(self._written, error)
                self._quorum = None
                if isinstance(error, RedisUnavailable):
                    await self.disconnect()

    def _has_calls(self) -> bool:
        """Fail the calls that are late, and say whether any are left."""
        now = time.monotonic()
        for call in self._written + self._queued:
            if now >= call.confirm_by and not call.future.done():
                missed = self._quorum.missed(self._confirmed, stored=call.stored) if self._quorum else None
                self._fail([call], missed or self._lost("no connection in time", maybe_applied=False))
        self._written = [call for call in self._written if not call.future.done()]
        self._queued = [call for call in self._queued if not call.future.done()]
        return bool(self._written or self._queued)

    async def _prepare(self) -> tuple[PipelinedConnection, _Quorum]:
        """The connection and the quorum; the server is asked for the latter at first, and after a failure."""
        connection = self._connection
        if connection is None or not connection.alive:
            # A new connection's WAIT does not cover what was written over another.
            self._fail(self._written, self._lost("the connection was lost", maybe_applied=True))
            self._written, self._quorum = [], None
            await self.disconnect()
            connection = PipelinedConnection(await self._connect(), self._node, _noted_elsewhere)
            self._connection = connection
        if self._quorum is None:
            quorum = self._quorum_of(await self._server_info(connection), stored=False)
            # A wait for none returns at once: a missing right shows before anything is written.
            await self._count_confirmed(_send(connection, quorum.wait(0, 1)), quorum, stored=False)
            self._quorum = quorum
        return connection, self._quorum

    async def _write_and_wait(self, connection: PipelinedConnection, quorum: _Quorum) -> None:
        """Send what is queued and wait once. While something is unconfirmed, only wait: a write behind it would put it
        off."""
        if not connection.alive:
            raise self._lost("the connection is closed", maybe_applied=False)
        again = bool(self._written)
        if not again:
            self._confirmed = 0
            # Callers that have given up meanwhile believe that nothing was sent.
            self._written = [call for call in self._queued if not call.future.done()]
            self._queued = []
        if not self._written:
            return
        replies = [] if again else [_send(connection, call.packed, call.replies) for call in self._written]
        waited = _send(connection, quorum.wait(quorum.number, self._wait_ms()))
        if not again:
            await self._store_replies(replies, quorum)
        confirmed = await self._count_confirmed(waited, quorum, stored=True)
        if confirmed >= quorum.number:
            if again:
                # Meanwhile another server may have been the primary, without these writes.
                await self._server_info(connection, quorum.history)
            self._deliver()
            return
        self._confirmed = confirmed
        self._quorum = self._quorum_of(await self._server_info(connection, quorum.history), stored=True)
        for call in self._written + self._queued:
            call.state.unconfirmed = self._quorum.missed(confirmed, stored=call.stored)

    async def _store_replies(self, replies: list[asyncio.Future[Any]], quorum: _Quorum) -> None:
        """Keep the replies of the commands themselves."""
        before = [call.state.maybe_applied for call in self._written]
        for call in self._written:
            call.state.maybe_applied = True
        for call, reply, maybe_before in zip(self._written, replies, before, strict=True):
            try:
                call.reply = await reply
            except ResponseError as error:
                call.state.maybe_applied = maybe_before
                self._fail([call], error)
            except RedisUnavailable as error:
                self._fail([call], error)
            else:
                call.stored = True
                call.state.unconfirmed = quorum.missed(0, stored=True)

    async def _count_confirmed(self, waited: asyncio.Future[Any], quorum: _Quorum, *, stored: bool) -> int:
        """How many have confirmed, by the reply of WAIT or WAITAOF."""
        try:
            reply = await waited
        except ResponseError as error:
            if is_unblocked(error):
                return 0
            raise self._refused(error, quorum.members, stored=stored) from None
        return int(reply if quorum.members == "replicas" else reply[0])

    async def _server_info(self, connection: PipelinedConnection, history: str | None = None) -> dict[str, str]:
        """The reply of INFO; with `history`, raises RedisUnavailable if the server's is another."""
        try:
            text: bytes = await _send(connection, pack(("INFO",)))
        except ResponseError as error:
            raise self._refused(error, "replicas", stored=history is not None) from None
        info = dict(line.split(":", 1) for line in text.decode(errors="replace").splitlines() if ":" in line)
        if history is not None and info.get("master_replid") != history:
            raise self._demoted()
        return info

    def _quorum_of(self, info: dict[str, str], *, stored: bool) -> _Quorum:
        history = info.get("master_replid", "")
        states = [value for name, value in info.items() if name.startswith("slave") and "state=" in value]
        # A replica that is not in sync yet counts as one to wait for.
        number = sum("state=online" in state for state in states) or int(bool(states) or self._needs_replica)
        if number:
            return _Quorum("replicas", number, history)
        why = _no_disk(info)
        if why:
            raise Unconfirmed("disk", 0, 1, stored=stored, why=why)
        return _Quorum("disk", 1, history)

    def _refused(self, error: ResponseError, missing: Missing, *, stored: bool) -> Exception:
        if "replica instances" in str(error):
            return self._demoted()
        fault = server_refusal(error, self._node)
        if fault is not None and fault.source != "auth":
            return fault
        remedy = "; grant WAIT and WAITAOF" if fault is not None else ""
        why = f"the server does not say who has it ({describe(error)}){remedy}"
        return Unconfirmed(missing, 0, 1, stored=stored, why=why)

    def _demoted(self) -> RedisUnavailable:
        return self._lost("it is no longer the same primary", maybe_applied=True)

    def _lost(self, reason: str, *, maybe_applied: bool) -> RedisUnavailable:
        return unreachable(self._node, reason, maybe_applied=maybe_applied)

    def _wait_ms(self) -> int:
        left = max(call.confirm_by for call in self._written) - time.monotonic()
        # 0 would wait forever.
        return max(1, math.ceil(min(_WAIT_SECONDS, left) * 1000))

    def _deliver(self) -> None:
        for call in self._written:
            call.state.unconfirmed = None
            if not call.future.done():
                call.future.set_result(call.reply)
        self._written = []

    @staticmethod
    def _fail(calls: list[_Call], error: Exception) -> None:
        for call in calls:
            if isinstance(error, Unconfirmed):
                call.state.unconfirmed = error
            if not call.future.done():
                call.future.set_exception(error)


def _send(connection: PipelinedConnection, packed: bytes, replies: int = 1) -> asyncio.Future[Any]:
    future = connection.send(packed, replies)
    future.add_done_callback(mark_retrieved)
    return future


def _no_disk(info: dict[str, str]) -> str:
    """Why a server without a replica cannot confirm what is on its disk; empty if it can."""
    numbers = tuple(int(part) for part in info.get("redis_version", "").split(".")[:2] if part.isdigit())
    if numbers < _FIRST_WITH_WAITAOF:
        return "the server has no replica, and no WAITAOF; give it a replica, or use Valkey or Redis 7.2"
    if info.get("aof_enabled") != "1":
        return "the server has no replica, and its append-only file is off; set appendonly to yes, or give it a replica"
    return ""


def _noted_elsewhere(_: BaseException) -> None:
    """The outage is noted by the node's shared connection, which is opened first."""
