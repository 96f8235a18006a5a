"""Writes that are answered only once others have them: the replicas (WAIT), or the disk (WAITAOF).

Both block their connection, so these calls go over one of their own. What is called while it blocks is gathered and
sent together, with one WAIT behind it: that speaks for all that its connection has written before.
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
from oxherd.redis.error_mapping import describe, lost, server_state
from oxherd.redis.futures import retrieve
from oxherd.redis.pipelined_connection import PipelinedConnection, pack

# How long one WAIT may block: who there is to confirm is learned anew in between.
_SLICE_SECONDS = 1.0
_FIRST_WITH_WAITAOF = (7, 2)  # Valkey gives itself out as Redis 7.2


@dataclass(frozen=True, slots=True)
class _Want:
    """Who has to confirm, and how many of them; `history` is the replication history that they have a copy of."""

    missing: Missing
    number: int
    history: str

    def packed(self, number: int, milliseconds: int) -> bytes:
        """The command that waits for so many."""
        if self.missing == "replicas":
            return pack(("WAIT", number, milliseconds))
        return pack(("WAITAOF", number, 0, milliseconds))

    def short(self, confirmed: int, *, stored: bool) -> Unconfirmed:
        """That only so many have confirmed."""
        return Unconfirmed(self.missing, confirmed, self.number, stored=stored)


@dataclass(slots=True, eq=False)
class _Call:
    packed: bytes
    replies: int
    until: float
    attempts: CallState
    future: asyncio.Future[Any]
    stored: bool = False
    reply: Any = None


class DurableWrites:
    """One node's confirmed calls. `connect` opens their connection; `needs_replica`: the disk alone is not enough."""

    def __init__(self, node: str, connect: Callable[[], Awaitable[AbstractConnection]], *, needs_replica: bool) -> None:
        self._node = node
        self._connect = connect
        self._needs_replica = needs_replica
        self._wire: PipelinedConnection | None = None
        self._want: _Want | None = None
        self._confirmed = 0
        self._gathered: list[_Call] = []
        self._written: list[_Call] = []
        self._running: asyncio.Task[None] | None = None

    def send(self, packed: bytes, replies: int, until: float, attempts: CallState) -> asyncio.Future[Any]:
        """Send packed command(s) that write; the future is the last reply, once that is confirmed.

        The future's exception is a `ResponseError` of redis-py when the server answered the command with one;
        `RedisUnavailable` when the connection was lost, or the server is no primary any more: to be sent again; and
        `Unconfirmed` when it was not confirmed `until` then (monotonic seconds), or cannot be.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._gathered.append(_Call(packed, replies, until, attempts, future))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run(), name=f"oxherd-confirm-{self._node}", context=Context())
        return future

    async def drop(self) -> None:
        """Leave the present connection, so that the next call connects anew."""
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.close()

    async def close(self) -> None:
        """Close the connection; what is not confirmed yet fails as lost."""
        if self._running is not None and not self._running.done():
            self._running.cancel()
            await asyncio.wait([self._running])
        await self.drop()
        self._fail(self._written + self._gathered, lost(self._node, "the connection is closed", maybe_applied=False))

    async def _run(self) -> None:
        while self._awaited():
            try:
                wire, want = await self._ready()
            except (RedisUnavailable, Unconfirmed) as error:
                self._fail(self._gathered, error)
                continue
            try:
                await self._round(wire, want)
            except (RedisUnavailable, Unconfirmed) as error:
                self._fail(self._written, error)
                self._want = None
                if isinstance(error, RedisUnavailable):
                    await self.drop()

    def _awaited(self) -> bool:
        """Whether anything is left that somebody waits for; what has not been confirmed in time is not."""
        now = time.monotonic()
        for call in self._written + self._gathered:
            if now >= call.until and not call.future.done():
                late = self._want.short(self._confirmed, stored=call.stored) if self._want else None
                self._fail([call], late or lost(self._node, "no connection in time", maybe_applied=False))
        self._written = [call for call in self._written if not call.future.done()]
        self._gathered = [call for call in self._gathered if not call.future.done()]
        return bool(self._written or self._gathered)

    async def _ready(self) -> tuple[PipelinedConnection, _Want]:
        """The connection, and what is known of those who confirm: at first, or after a failure, by asking."""
        wire = self._wire
        if wire is None or not wire.alive:
            # A new connection's WAIT does not speak for what was written over another.
            self._fail(self._written, lost(self._node, "the connection was lost", maybe_applied=True))
            self._written, self._want = [], None
            await self.drop()
            wire = self._wire = PipelinedConnection(await self._connect(), self._node, _noted_elsewhere)
        if self._want is None:
            want = self._decide(await self._look(wire), stored=False)
            # For none of them, so it answers at once: what may not be asked is known before anything is written.
            await self._count(_send(wire, want.packed(0, 1)), want, stored=False)
            self._want = want
        return wire, self._want

    async def _round(self, wire: PipelinedConnection, want: _Want) -> None:
        """Send what was gathered and wait once. While something is not confirmed, wait for that alone: what is written
        behind it would put it off."""
        if not wire.alive:
            raise lost(self._node, "the connection is closed", maybe_applied=False)
        again = bool(self._written)
        if not again:
            self._confirmed = 0
            # Whoever has left meanwhile was told that nothing was sent.
            self._written = [call for call in self._gathered if not call.future.done()]
            self._gathered = []
        if not self._written:
            return
        replies = [] if again else [_send(wire, call.packed, call.replies) for call in self._written]
        waited = _send(wire, want.packed(want.number, self._slice_ms()))
        if not again:
            await self._store(replies, want)
        confirmed = await self._count(waited, want, stored=True)
        if confirmed >= want.number:
            if again:
                # Meanwhile another may have been the primary, without what was written here.
                await self._look(wire, want.history)
            self._deliver()
            return
        self._confirmed = confirmed
        self._want = self._decide(await self._look(wire, want.history), stored=True)
        for call in self._written + self._gathered:
            call.attempts.unconfirmed = self._want.short(confirmed, stored=call.stored)

    async def _store(self, replies: list[asyncio.Future[Any]], want: _Want) -> None:
        """Take the answers of the commands themselves."""
        before = [call.attempts.maybe_applied for call in self._written]
        for call in self._written:
            call.attempts.maybe_applied = True
        for call, reply, maybe_before in zip(self._written, replies, before, strict=True):
            try:
                call.reply = await reply
            except ResponseError as error:
                call.attempts.maybe_applied = maybe_before
                self._fail([call], error)
            except RedisUnavailable as error:
                self._fail([call], error)
            else:
                call.stored = True
                call.attempts.unconfirmed = want.short(0, stored=True)

    async def _count(self, waited: asyncio.Future[Any], want: _Want, *, stored: bool) -> int:
        """How many have confirmed, by the answer of WAIT or WAITAOF."""
        try:
            answer = await waited
        except ResponseError as error:
            raise self._refused(error, want.missing, stored=stored) from None
        return int(answer if want.missing == "replicas" else answer[0])

    async def _look(self, wire: PipelinedConnection, history: str | None = None) -> dict[str, str]:
        """What the server says of itself; it must be the primary that it was by its `history`. Command: INFO."""
        try:
            text: bytes = await _send(wire, pack(("INFO",)))
        except ResponseError as error:
            raise self._refused(error, "replicas", stored=history is not None) from None
        info = dict(line.split(":", 1) for line in text.decode(errors="replace").splitlines() if ":" in line)
        if history is not None and info.get("master_replid") != history:
            raise self._demoted()
        return info

    def _decide(self, info: dict[str, str], *, stored: bool) -> _Want:
        history = info.get("master_replid", "")
        states = [value for name, value in info.items() if name.startswith("slave") and "state=" in value]
        # One that is not in step yet has to get there first.
        number = sum("state=online" in state for state in states) or int(bool(states) or self._needs_replica)
        if number:
            return _Want("replicas", number, history)
        why = _no_disk(info)
        if why:
            raise Unconfirmed("disk", 0, 1, stored=stored, why=why)
        return _Want("disk", 1, history)

    def _refused(self, error: ResponseError, missing: Missing, *, stored: bool) -> Exception:
        if "replica instances" in str(error):
            return self._demoted()
        fault = server_state(error, self._node)
        if fault is not None and fault.source != "auth":
            return fault
        remedy = "; grant WAIT and WAITAOF" if fault is not None else ""
        why = f"the server does not say who has it ({describe(error)}){remedy}"
        return Unconfirmed(missing, 0, 1, stored=stored, why=why)

    def _demoted(self) -> RedisUnavailable:
        return lost(self._node, "it is no longer the primary that it was", maybe_applied=True)

    def _slice_ms(self) -> int:
        left = max(call.until for call in self._written) - time.monotonic()
        # 0 would wait for ever.
        return max(1, math.ceil(min(_SLICE_SECONDS, left) * 1000))

    def _deliver(self) -> None:
        for call in self._written:
            call.attempts.unconfirmed = None
            if not call.future.done():
                call.future.set_result(call.reply)
        self._written = []

    @staticmethod
    def _fail(calls: list[_Call], error: Exception) -> None:
        for call in calls:
            if isinstance(error, Unconfirmed):
                call.attempts.unconfirmed = error
            if not call.future.done():
                call.future.set_exception(error)


def _send(wire: PipelinedConnection, packed: bytes, replies: int = 1) -> asyncio.Future[Any]:
    future = wire.send(packed, replies)
    future.add_done_callback(retrieve)
    return future


def _no_disk(info: dict[str, str]) -> str:
    """Why a server without a replica cannot say what is on its disk; empty where it can."""
    numbers = tuple(int(part) for part in info.get("redis_version", "").split(".")[:2] if part.isdigit())
    if numbers < _FIRST_WITH_WAITAOF:
        return "the server has no replica, and no WAITAOF; give it a replica, or use Valkey or Redis 7.2"
    if info.get("aof_enabled") != "1":
        return "the server has no replica, and its append-only file is off; set appendonly to yes, or give it a replica"
    return ""


def _noted_elsewhere(_: BaseException) -> None:
    """The node's shared connection, which is made before this one, notes an outage."""
