"""An outbox's table through SQLAlchemy's engines, sync and async.

A page is read, sent and removed in one transaction, whose row locks keep other workers off. What is given by its ids,
nobody else looks for yet: it is read in a transaction of its own, since sending may take long.
"""

from __future__ import annotations

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from oxherd.outbox.rows import Delivered, OutboxBacklog, Page, Results, Selection, ids_of
from oxherd.outbox.table import OutboxTable, locks_rows, read_backlog, read_names, read_rows
from oxherd.outbox.task_sender import AsyncSend, AsyncStore
from oxherd.outbox.thread_sender import Send, Store


class EngineStore(Store):
    """Through an Engine."""

    def __init__(self, table: OutboxTable, engine: Engine) -> None:
        self._table = table
        self._engine = engine
        self._locks = locks_rows(engine.dialect)

    def deliver(self, selection: Selection, send: Send) -> Delivered:
        """As `Store.deliver`."""
        locks = self._locks and isinstance(selection, Page)
        table, unknown = self._table, list[str]()
        with self._engine.connect() as connection:
            if isinstance(selection, Page) and selection.after is None:
                unknown = read_names(connection.execute(table.unknown(selection)))
            rows = read_rows(connection.execute(table.select(selection, lock=locks)))
            if not locks:
                connection.rollback()
            results = send(rows) if rows else Results()
            for statement in table.writes(results):
                connection.execute(statement)
            connection.commit()
        return Delivered(ids_of(rows), results, unknown)

    def backlog(self) -> OutboxBacklog:
        """As `Store.backlog`."""
        with self._engine.connect() as connection:
            return read_backlog(connection.execute(self._table.backlog()))


class AsyncEngineStore(AsyncStore):
    """Through an AsyncEngine."""

    def __init__(self, table: OutboxTable, engine: AsyncEngine) -> None:
        self._table = table
        self._engine = engine
        self._locks = locks_rows(engine.dialect)

    async def deliver(self, selection: Selection, send: AsyncSend) -> Delivered:
        """As `AsyncStore.deliver`."""
        locks = self._locks and isinstance(selection, Page)
        table, unknown = self._table, list[str]()
        async with self._engine.connect() as connection:
            if isinstance(selection, Page) and selection.after is None:
                unknown = read_names(await connection.execute(table.unknown(selection)))
            rows = read_rows(await connection.execute(table.select(selection, lock=locks)))
            if not locks:
                await connection.rollback()
            results = await send(rows) if rows else Results()
            for statement in table.writes(results):
                await connection.execute(statement)
            await connection.commit()
        return Delivered(ids_of(rows), results, unknown)

    async def backlog(self) -> OutboxBacklog:
        """As `AsyncStore.backlog`."""
        async with self._engine.connect() as connection:
            return read_backlog(await connection.execute(self._table.backlog()))
