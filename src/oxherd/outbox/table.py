"""An outbox's table in SQLAlchemy, and the statements on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Column,
    DateTime,
    Executable,
    MetaData,
    Result,
    String,
    Table,
    Text,
    Uuid,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import registry

from oxherd.outbox.rows import BATCH, Given, OutboxBacklog, Page, Results, Row, Selection, aware

# Of those that have rows and are not declared here.
_MOST_UNKNOWN = 16


class PendingRow:
    """A row that a session adds; mapped to its outbox's table."""

    id: UUID


class OutboxTable:
    """The table; `row` is the class that is mapped to it."""

    def __init__(self, metadata: MetaData, name: str) -> None:
        self.table = Table(
            name,
            metadata,
            Column("id", Uuid(), primary_key=True),
            Column("event", String(128), nullable=False),
            Column("payload", Text(), nullable=False),
            Column("lineage", Text(), nullable=False),
            Column("options", Text(), nullable=False),
            Column("emitted_at", DateTime(timezone=True), nullable=False),
            Column("error", String(128), nullable=True),
        )
        self.row = type("OutboxRow", (PendingRow,), {})
        registry(metadata=metadata).map_imperatively(self.row, self.table)
        columns = self.table.c
        self._columns = [columns[name] for name in Row._fields]

    def select(self, selection: Selection, *, lock: bool) -> Executable:
        """The statement that reads a selection, in order; locked, it skips what others have locked."""
        columns = self.table.c
        statement = select(*self._columns).where(columns.error.is_(None)).order_by(columns.id)
        if lock:
            statement = statement.with_for_update(skip_locked=True)
        if isinstance(selection, Given):
            return statement.where(columns.id.in_(selection.ids))
        statement = statement.where(columns.emitted_at < selection.before, columns.event.in_(selection.events))
        if selection.after is not None:
            statement = statement.where(columns.id > selection.after)
        return statement.limit(BATCH)

    def unknown(self, page: Page) -> Executable:
        """The statement that finds events with rows of a page's time that are not among its events."""
        columns = self.table.c
        old = (columns.emitted_at < page.before, columns.error.is_(None), columns.event.not_in(page.events))
        return select(columns.event).where(*old).distinct().limit(_MOST_UNKNOWN)

    def writes(self, results: Results) -> Iterator[Executable]:
        """The statements that remove what was sent, and mark what cannot be."""
        row_id = self.table.c.id
        if results.sent:
            yield delete(self.table).where(row_id.in_(results.sent))
        for refused, error in results.refused.items():
            yield update(self.table).where(row_id == refused).values(error=error)

    def backlog(self) -> Executable:
        """The statement whose row `read_backlog` reads."""
        columns = self.table.c
        waiting = columns.error.is_(None)
        return select(
            func.count().filter(waiting),
            func.count().filter(columns.error.is_not(None)),
            func.min(columns.emitted_at).filter(waiting),
        ).select_from(self.table)


def read_rows(result: Result[*tuple[Any, ...]]) -> list[Row]:
    """The rows of `OutboxTable.select`."""
    return [Row(*each) for each in result]


def read_names(result: Result[*tuple[Any, ...]]) -> list[str]:
    """The events of `OutboxTable.unknown`."""
    return sorted(name for (name,) in result)


def read_backlog(result: Result[*tuple[Any, ...]]) -> OutboxBacklog:
    """What `OutboxTable.backlog` has found."""
    waiting, refused, oldest = result.one()
    return OutboxBacklog(waiting, refused, aware(oldest))


def locks_rows(dialect: Dialect) -> bool:
    """Whether workers share its rows by locking them; SQLite has one writer at a time, and reads without."""
    return dialect.name != "sqlite"
