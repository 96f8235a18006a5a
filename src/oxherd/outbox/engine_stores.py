"""An outbox's table through SQLAlchemy's engines, sync and async.

A page is read, sent and removed in one transaction, whose row locks keep other workers off. What is given by its ids,
nobody else looks for yet: it is read in a transaction of its own, since sending may take long.
"""

from __future__ import annotations

from contextlib import nullcontext

from sqlalchemy import Connection, Engine
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from oxherd.outbox.rows import (
    AsyncSend,
    AsyncStore,
    Delivered,
    OutboxBacklog,
    Page,
    Results,
    Row,
    Selection,
    Send,
    Store,
    ids_of,
)
from oxherd.outbox.table import OutboxTable, locks_rows, read_backlog, read_names, read_rows


class EngineStore(Store):
    """Through an Engine."""

    def __init__(self, table: OutboxTable, engine: Engine) -> None:
        self._table = table
        self._engine = engine

    def deliver(self, selection: Selection, send: Send) -> Delivered:
        """As `Store.deliver`."""
        if isinstance(selection, Page) and locks_rows(self._engine.dialect):
            with self._engine.begin() as connection:
                rows, unknown = self._read(connection, selection, lock=True)
                results = send(rows) if rows else Results()
                self._write(connection, results)
            return Delivered(ids_of(rows), results, unknown)
        with self._engine.connect() as connection:
            rows, unknown = self._read(connection, selection, lock=False)
        results = send(rows) if rows else Results()
        if rows:
            with self._engine.begin() as connection:
                self._write(connection, results)
        return Delivered(ids_of(rows), results, unknown)

    def backlog(self) -> OutboxBacklog:
        """As `Store.backlog`."""
        with self._engine.connect() as connection:
            return read_backlog(connection.execute(self._table.backlog()))

    def _read(self, connection: Connection, selection: Selection, *, lock: bool) -> tuple[list[Row], list[str]]:
        unknown = list[str]()
        if isinstance(selection, Page) and selection.after is None:
            unknown = read_names(connection.execute(self._table.unknown(selection)))
        return read_rows(connection.execute(self._table.select(selection, lock=lock))), unknown

    def _write(self, connection: Connection, results: Results) -> None:
        for statement in self._table.writes(results):
            connection.execute(statement)


class BindStore(Store):
    """Through what a session is bound to: an Engine, or a Connection in whose transaction it remains, as in tests."""

    def __init__(self, table: OutboxTable, bind: Engine | Connection) -> None:
        self._table = table
        self._bind = bind

    def deliver(self, selection: Selection, send: Send) -> Delivered:
        """As `Store.deliver`, in one transaction."""
        with self._bind.begin() if isinstance(self._bind, Engine) else nullcontext(self._bind) as connection:
            rows = read_rows(connection.execute(self._table.select(selection, lock=False)))
            results = send(rows)
            for statement in self._table.writes(results):
                connection.execute(statement)
        return Delivered(ids_of(rows), results)

    def backlog(self) -> OutboxBacklog:
        """As `Store.backlog`."""
        with self._bind.connect() if isinstance(self._bind, Engine) else nullcontext(self._bind) as connection:
            return read_backlog(connection.execute(self._table.backlog()))


class AsyncEngineStore(AsyncStore):
    """Through an AsyncEngine."""

    def __init__(self, table: OutboxTable, engine: AsyncEngine) -> None:
        self._table = table
        self._engine = engine

    async def deliver(self, selection: Selection, send: AsyncSend) -> Delivered:
        """As `AsyncStore.deliver`."""
        if isinstance(selection, Page) and locks_rows(self._engine.dialect):
            async with self._engine.begin() as connection:
                rows, unknown = await self._read(connection, selection, lock=True)
                results = await send(rows) if rows else Results()
                await self._write(connection, results)
            return Delivered(ids_of(rows), results, unknown)
        async with self._engine.connect() as connection:
            rows, unknown = await self._read(connection, selection, lock=False)
        results = await send(rows) if rows else Results()
        if rows:
            async with self._engine.begin() as connection:
                await self._write(connection, results)
        return Delivered(ids_of(rows), results, unknown)

    async def backlog(self) -> OutboxBacklog:
        """As `AsyncStore.backlog`."""
        async with self._engine.connect() as connection:
            return read_backlog(await connection.execute(self._table.backlog()))

    async def _read(
        self, connection: AsyncConnection, selection: Selection, *, lock: bool
    ) -> tuple[list[Row], list[str]]:
        unknown = list[str]()
        if isinstance(selection, Page) and selection.after is None:
            unknown = read_names(await connection.execute(self._table.unknown(selection)))
        return read_rows(await connection.execute(self._table.select(selection, lock=lock))), unknown

    async def _write(self, connection: AsyncConnection, results: Results) -> None:
        for statement in self._table.writes(results):
            await connection.execute(statement)
