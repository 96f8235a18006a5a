"""The outbox for SQLAlchemy 2: emits are rows of the caller's transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar, Unpack, cast

from sqlalchemy import Connection, Engine, MetaData, Table
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session

from oxherd.app import Oxherd
from oxherd.context import running_loop
from oxherd.emitted import Emitted
from oxherd.errors import DeclarationError, UsageError
from oxherd.event import Event
from oxherd.outbox.commits import Commits, Written
from oxherd.outbox.courier import Courier, deliver_here
from oxherd.outbox.engine_stores import AsyncEngineStore, BindStore, EngineStore
from oxherd.outbox.rows import OutboxBacklog, columns_of
from oxherd.outbox.table import OutboxTable
from oxherd.outbox.task_sender import TaskSenders
from oxherd.outbox.thread_sender import ThreadSenders
from oxherd.policy import Seconds, seconds
from oxherd.producer.emit_options import EmitOptions

P = TypeVar("P")
R = TypeVar("R")

AnySession = Session | AsyncSession | Connection | scoped_session[Session] | async_scoped_session[AsyncSession]


class Outbox:
    """Keeps emits in a table of the application's database until their transaction is committed and Redis has them.

    What a process has committed, it sends at once in the background; what it leaves when it dies, the workers of the
    herd send, at least once; within a day, one id makes no second event.

    Args:
        herd: where the events are declared; its workers sweep the table, those of its other processes as well.
        engine: an Engine or AsyncEngine of the database. Sessions and connections of other engines may emit, if they
            are of the same database.
        table: the table's name.
        metadata: where the table belongs, such as `Base.metadata`; None: a MetaData of its own.
        grace: seconds (or a timedelta) after its emit that a row is left to the process that wrote it.

    Raises:
        DeclarationError: an argument is invalid.
    """

    def __init__(
        self,
        herd: Oxherd,
        engine: Engine | AsyncEngine,
        *,
        table: str = "oxherd_outbox",
        metadata: MetaData | None = None,
        grace: Seconds = 10,
    ) -> None:
        if not isinstance(herd, Oxherd) or not isinstance(engine, Engine | AsyncEngine):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DeclarationError("Outbox takes a herd and an engine, such as Outbox(herd, create_engine(...)).")
        self.herd = herd
        self.metadata = MetaData() if metadata is None else metadata
        self._grace = seconds(grace, "grace", least=0.001)
        self._engine = engine
        self._table = OutboxTable(self.metadata, table)
        self._senders = self._senders_of(engine, Courier(herd, table))
        self._commits = Commits(self._table.row, self._offer)
        herd.worker_lifespan(self._sweep)

    @property
    def table(self) -> Table:
        """The table, for migrations and queries."""
        return self._table.table

    def emit(
        self, session: AnySession, event: Event[P, R], payload: P, /, **options: Unpack[EmitOptions]
    ) -> Emitted[R]:
        """Emit an event if, and once, the session's transaction is committed. Writes a row; does not wait for Redis.

        With an AsyncSession it is called in the same way: the row is written by the session's next flush. A Connection
        writes it at once. The options are those of `Event.emit`; `delay` and `expires` count from this call.

        Raises:
            InvalidPayload, PayloadTooLarge: as `Event.emit`; nothing is written.
            UsageError: the same, and for an event of another herd, or where there is no session.
        """
        if not isinstance(event, Event) or event.herd is not self.herd:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(
                "outbox.emit takes an event of the outbox's herd: outbox.emit(session, order_placed, order)."
            )
        target = _target(session)
        message = event.message(payload, **options)
        columns = columns_of(message)
        if isinstance(target, Connection):
            target.execute(self.table.insert(), columns)
            self._commits.of_connection(target, message.id, message.event)
        else:
            row = self._table.row()
            for name, value in columns.items():
                setattr(row, name, value)
            target.add(row)
            self._commits.of_session(target, message.id, message.event)
        return event.emitted(message.id)

    async def backlog(self) -> OutboxBacklog:
        """What the table holds: how many events wait, since when, and how many cannot be sent."""
        if isinstance(self._engine, Engine):
            return await asyncio.to_thread(self.backlog_sync)
        return await AsyncEngineStore(self._table, self._engine).backlog()

    def backlog_sync(self) -> OutboxBacklog:
        """`backlog` from code without an event loop; raises UsageError with an AsyncEngine."""
        return EngineStore(self._table, self._sync_engine("backlog")).backlog()

    async def flush(self, timeout: Seconds = 10) -> bool:
        """Wait until what this process (with an AsyncEngine: this event loop) has committed is sent; whether it is."""
        return await self._senders.flush(seconds(timeout, "timeout"))

    def flush_sync(self, timeout: Seconds = 10) -> bool:
        """`flush` from code without an event loop; raises UsageError with an AsyncEngine."""
        return self._threads("flush").flush_sync(seconds(timeout, "timeout"))

    async def create_table(self) -> None:
        """Create the table, unless it exists; for tests, and for applications without migrations."""
        if isinstance(self._engine, Engine):
            await asyncio.to_thread(self.create_table_sync)
        else:
            async with self._engine.begin() as connection:
                await connection.run_sync(self.table.create, checkfirst=True)

    def create_table_sync(self) -> None:
        """`create_table` from code without an event loop; raises UsageError with an AsyncEngine."""
        self.table.create(self._sync_engine("create_table"), checkfirst=True)

    async def close(self) -> None:
        """Stop sending in this process (with an AsyncEngine: in this event loop), after the batch that is on its way.

        The next emit begins anew. What is left, the workers send.
        """
        await self._senders.close()

    def close_sync(self) -> None:
        """`close` from code without an event loop; raises UsageError with an AsyncEngine."""
        self._threads("close").close_sync()

    def _senders_of(self, engine: Engine | AsyncEngine, courier: Courier) -> ThreadSenders | TaskSenders:
        if isinstance(engine, Engine):
            return ThreadSenders(EngineStore(self._table, engine), courier, self._grace)
        return TaskSenders(AsyncEngineStore(self._table, engine), courier, self._grace)

    def _threads(self, method: str) -> ThreadSenders:
        if isinstance(self._senders, ThreadSenders):
            return self._senders
        raise UsageError(f"The outbox has an AsyncEngine; await {method}(...) in its event loop.")

    def _sync_engine(self, method: str) -> Engine:
        if isinstance(self._engine, Engine):
            return self._engine
        raise UsageError(f"The outbox has an AsyncEngine; await {method}(...) in its event loop.")

    def _offer(self, bind: Engine | Connection, written: Written, looks: int) -> None:
        delivery = self.herd.delivery
        if delivery is None or running_loop() is not None:
            self._senders.offer(written, looks)
        else:
            deliver_here(self.herd, delivery, BindStore(self._table, bind), written)

    async def _sweep(self, _: Oxherd) -> AsyncIterator[None]:
        async with self._senders.sweep():
            yield


def _target(session: object) -> Session | Connection:
    if isinstance(session, scoped_session | async_scoped_session):
        session = cast("object", session())
    if isinstance(session, AsyncSession):
        session = session.sync_session
    if isinstance(session, Session | Connection):
        return session
    if isinstance(session, AsyncConnection):
        raise UsageError(
            "outbox.emit writes on a sync connection: "
            "await connection.run_sync(lambda sync: outbox.emit(sync, order_placed, order))."
        )
    raise UsageError(
        "outbox.emit takes a Session, an AsyncSession or a Connection first, then the event and its payload."
    )
