"""One server: connected once, on demand, and again after each loss."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

from oxherd.errors import RedisUnavailable
from oxherd.redis.connection import ask, open_connection
from oxherd.redis.durable_writes import DurableWrites
from oxherd.redis.error_mapping import lost, server_state
from oxherd.redis.futures import retrieve, shared
from oxherd.redis.outage import CONNECTION, Outages
from oxherd.redis.pipelined_connection import PipelinedConnection
from oxherd.redis.retry import retry_delay
from oxherd.redis.url import Address, RedisURL

_CONFIRMING = "the confirming connection"  # what an outage's cause is called


class Node:
    """A server's connections: the shared wire, and separate ones for what blocks.

    `resolve` gives the address anew for each connection, since behind Sentinel it changes.
    """

    def __init__(self, name: str, url: RedisURL, resolve: Callable[[], Awaitable[Address]], outages: Outages) -> None:
        self.name = name
        self._url = url
        self._resolve = resolve
        self._outages = outages
        self._wire: PipelinedConnection | None = None
        self._connecting: asyncio.Task[PipelinedConnection] | None = None
        self._failures = 0
        self._closed = False
        self._confirm: DurableWrites | None = None

    @property
    def confirm(self) -> DurableWrites:
        """For writes that are answered once they are confirmed."""
        if self._confirm is None:
            on_one_server = self._url.topology == "standalone"
            self._confirm = DurableWrites(self.name, self._open_confirming, needs_replica=not on_one_server)
        return self._confirm

    @property
    def live(self) -> PipelinedConnection | None:
        """The wire, if it is connected now."""
        wire = self._wire
        return wire if wire is not None and wire.alive else None

    async def wire(self) -> PipelinedConnection:
        """The connected wire; many callers share one attempt, and attempts are spaced out while they fail.

        Raises:
            RedisUnavailable: this attempt failed.
        """
        wire = self.live
        if wire is not None:
            return wire
        if self._closed:
            raise lost(self.name, "the connection is closed", maybe_applied=False)
        if self._connecting is None or self._connecting.done():
            # Without the context of the event that happens to be the first to need it: the connection outlives it.
            self._connecting = asyncio.create_task(
                self._connect(), name=f"oxherd-connect-{self.name}", context=Context()
            )
            self._connecting.add_done_callback(retrieve)
        return await shared(self._connecting, self.name)

    async def open(self, cause: str = CONNECTION) -> AbstractConnection:
        """A connection of its own, ready for use, for a command that blocks; `cause` names it in an outage.

        Raises:
            RedisUnavailable: it could not be made; the outage is noted.
        """
        connection: AbstractConnection | None = None
        try:
            connection = await open_connection(self._url, await self._resolve())
            await self._assert_serving(connection)
        except BaseException as error:
            if connection is not None:
                await connection.disconnect(nowait=True)
            if not isinstance(error, RedisError | OSError | RedisUnavailable):
                raise
            fault = error if isinstance(error, RedisUnavailable) else self._fault(error)
            self._outages.down(self.name, fault.source, error, cause)
            raise fault from None
        self._outages.up(self.name, cause)
        return connection

    def report(self, source: str, error: BaseException, cause: str) -> None:
        """Note that this node failed us."""
        if not self._closed:
            self._outages.down(self.name, source, error, cause)

    def served(self, cause: str) -> None:
        """Note that what failed before works now."""
        if self._outages.open:
            self._outages.up(self.name, cause)

    async def drop(self) -> None:
        """Leave the present connection, so that the next call connects anew."""
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.close()
        if self._confirm is not None:
            await self._confirm.drop()

    async def close(self) -> None:
        """Close for good; an open outage of this node is over, since nobody needs it any more."""
        self._closed = True
        self._outages.left(self.name)
        if self._connecting is not None and not self._connecting.done():
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        if self._confirm is not None:
            await self._confirm.close()
        await self.drop()

    def forget(self) -> None:
        """The node is needed no more."""
        self._outages.forget(self.name)

    async def _open_confirming(self) -> AbstractConnection:
        # The shared one first: it spaces the attempts out, and notes the outage and its end.
        await self.wire()
        return await self.open(_CONFIRMING)

    async def _connect(self) -> PipelinedConnection:
        if self._failures:
            await asyncio.sleep(retry_delay(self._failures))
        try:
            connection = await self.open()
        except RedisUnavailable:
            self._failures += 1
            raise
        self._failures = 0
        self._wire = PipelinedConnection(connection, self.name, self._on_lost)
        self._outages.connected(self.name)
        return self._wire

    def _on_lost(self, error: BaseException) -> None:
        if self._closed:
            return
        self._outages.down(self.name, "connect", error)
        # Connecting at once, unasked, is what ends an outage on time when nobody has anything to send.
        self._reconnect = asyncio.create_task(
            self._reconnect_until_up(), name=f"oxherd-reconnect-{self.name}", context=Context()
        )

    async def _reconnect_until_up(self) -> None:
        while not self._closed and self.live is None:
            try:
                await self.wire()
            except RedisUnavailable:  # noted by open(); wire() spaces the attempts
                continue

    async def _assert_serving(self, connection: AbstractConnection) -> None:
        # A server that loads its data, or that Sentinel has demoted, accepts connections but does not serve.
        await ask(connection, "PING")
        if self._url.topology != "sentinel":
            return
        try:
            role = await ask(connection, "ROLE")
        except ResponseError:  # ROLE may not be granted; READONLY then tells us at the first write
            return
        if role is None or bytes(role[0]) != b"master":
            raise lost(self.name, "it is not the primary yet", maybe_applied=False)

    def _fault(self, error: BaseException) -> RedisUnavailable:
        return server_state(error, self.name) or lost(self.name, error, maybe_applied=False)
