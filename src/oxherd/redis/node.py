"""One server's connections: opened on demand, and again after each loss."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import Context

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

from oxherd.errors import RedisUnavailable, ServerError
from oxherd.redis.connection import ask, close_connection, open_connection
from oxherd.redis.durable_writes import DurableWrites
from oxherd.redis.error_mapping import server_refusal, unreachable
from oxherd.redis.futures import await_shared, mark_retrieved
from oxherd.redis.outage import CONNECTION, Outages
from oxherd.redis.pipelined_connection import PipelinedConnection
from oxherd.redis.retry import retry_delay
from oxherd.redis.url import Address, RedisURL

_DURABLE_WRITES = "durable writes"  # as the cause of an outage


class Node:
    """A server's connections: a pipelined one that all share, and dedicated ones for commands that block.

    `resolve` is asked for the address of each connection, since it changes behind Sentinel. `restart` starts a server
    again that is ours to start; it blocks.
    """

    def __init__(
        self,
        name: str,
        url: RedisURL,
        resolve: Callable[[], Awaitable[Address]],
        outages: Outages,
        restart: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self.address: Address | None = None  # where it was found last
        self._url = url
        self._resolve = resolve
        self._outages = outages
        self._restart = restart
        self._died_with: BaseException | None = None
        self._connection: PipelinedConnection | None = None
        self._connecting: asyncio.Task[PipelinedConnection] | None = None
        self._failures = 0
        self._closed = False
        self._durable_writes: DurableWrites | None = None

    @property
    def durable_writes(self) -> DurableWrites:
        """Writes whose reply waits until they are confirmed."""
        if self._durable_writes is None:
            needs_replica = self._url.topology != "standalone"
            self._durable_writes = DurableWrites(self.name, self._open_for_durable, needs_replica=needs_replica)
        return self._durable_writes

    @property
    def connection(self) -> PipelinedConnection | None:
        """The shared connection, if it is alive."""
        connection = self._connection
        return connection if connection is not None and connection.alive else None

    async def connect(self) -> PipelinedConnection:
        """The shared connection, opened if needed; concurrent callers share one attempt, and failures are backed off.

        Raises:
            RedisUnavailable: this attempt failed.
        """
        connection = self.connection
        if connection is not None:
            return connection
        if self._closed:
            raise unreachable(self.name, "the connection is closed", maybe_applied=False)
        if self._connecting is None or self._connecting.done():
            # Not in the context of the event that happens to need it first: the connection outlives the event.
            self._connecting = asyncio.create_task(
                self._connect(), name=f"oxherd-connect-{self.name}", context=Context()
            )
            self._connecting.add_done_callback(mark_retrieved)
        return await await_shared(self._connecting, self.name)

    async def open(self, cause: str = CONNECTION, name: str = "") -> AbstractConnection:
        """Open a dedicated connection, for commands that block; `cause` names it in an outage, `name` in CLIENT LIST.

        Raises:
            RedisUnavailable: it could not be opened; the outage is noted.
        """
        began = time.monotonic()
        connection: AbstractConnection | None = None
        try:
            address = await self._resolve()
            connection = await open_connection(self._url, address, name=name)
            await self._assert_serving(connection)
            self.address = address
        except BaseException as error:
            if connection is not None:
                await close_connection(connection)
            if not isinstance(error, RedisError | OSError | RedisUnavailable):
                raise
            fault = error if isinstance(error, RedisUnavailable) else self._fault(error)
            if self._restart is not None and fault.source == "connect":
                try:
                    await asyncio.to_thread(self._restart)
                except ServerError as refusal:
                    error, fault = refusal, RedisUnavailable(str(refusal), source="connect", node=self.name)
            self._died_with = None
            self.note_failure(fault.source, error, cause, since=began)
            raise fault from None
        if self._died_with is not None:
            # Another process has started it again meanwhile.
            error, self._died_with = self._died_with, None
            self.note_failure("connect", error, CONNECTION, since=began)
        self._outages.up(self.name, cause)
        return connection

    def note_failure(self, source: str, error: BaseException, cause: str, *, since: float) -> None:
        """Note a failure of this node, unless it is closed; for `since` see `Outages.down`."""
        if not self._closed:
            self._outages.down(self.name, source, error, cause, since=since)

    def note_success(self, cause: str) -> None:
        """Note that `cause` is gone."""
        if self._outages.open:
            self._outages.up(self.name, cause)

    async def disconnect(self) -> None:
        """Close the connections; the next call opens others."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
        if self._durable_writes is not None:
            await self._durable_writes.disconnect()

    async def close(self) -> None:
        """Close for good."""
        self._closed = True
        self._outages.closed(self.name)
        if self._connecting is not None and not self._connecting.done():
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        if self._durable_writes is not None:
            await self._durable_writes.close()
        await self.disconnect()

    async def _open_for_durable(self) -> AbstractConnection:
        # The shared one first: it backs off, and notes the outage and its end.
        await self.connect()
        return await self.open(_DURABLE_WRITES)

    async def _connect(self) -> PipelinedConnection:
        if self._failures:
            await asyncio.sleep(retry_delay(self._failures))
        try:
            connection = await self.open()
        except RedisUnavailable:
            self._failures += 1
            raise
        self._failures = 0
        self._connection = PipelinedConnection(connection, self.name, self._on_lost)
        self._outages.connected(self.name)
        return self._connection

    def _on_lost(self, error: BaseException) -> None:
        lost = self._connection
        if self._closed or lost is None:
            return
        # Any other is an outage only if it cannot be replaced: a server closes idle connections.
        if lost.useless or isinstance(error, TimeoutError):
            self._failures += 1
            self.note_failure("connect", error, CONNECTION, since=lost.opened)
        elif self._restart is not None:
            # It keeps idle connections. To be noted with the reason if it cannot be started again.
            self._died_with = error
        # Reconnect at once, so that an outage begins and ends on time even if nobody has anything to send.
        self._reconnect = asyncio.create_task(
            self._reconnect_until_up(), name=f"oxherd-reconnect-{self.name}", context=Context()
        )

    async def _reconnect_until_up(self) -> None:
        while not self._closed and self.connection is None:
            try:
                await self.connect()
            except RedisUnavailable:  # noted by open(); connect() backs off
                continue

    async def _assert_serving(self, connection: AbstractConnection) -> None:
        # A server that is loading, or that Sentinel has demoted, accepts connections but does not serve.
        await ask(connection, "PING")
        if self._url.topology != "sentinel":
            return
        try:
            role = await ask(connection, "ROLE")
        except ResponseError:  # ROLE may not be granted; the first write then gets READONLY
            return
        if role is None or bytes(role[0]) != b"master":
            raise unreachable(self.name, "it is not the primary yet", maybe_applied=False)

    def _fault(self, error: BaseException) -> RedisUnavailable:
        return server_refusal(error, self.name) or unreachable(self.name, error, maybe_applied=False)
