"""Hears of the commits of sessions and connections in which something was emitted."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, event
from sqlalchemy.orm import Session, SessionTransaction

from oxherd.outbox.agenda import LOOKS
from oxherd.outbox.table import PendingRow

Written = list[tuple[UUID, str]]  # ids, with their events
Offer = Callable[[Engine | Connection, Written, int], None]


class Commits:
    """Calls `offer` with what was written in a transaction, and where, once that is committed.

    What a savepoint has rolled back is among it: only the table says what there is.
    """

    def __init__(self, row: type[PendingRow], offer: Offer) -> None:
        self._row = row
        self._offer = offer
        self._sessions: WeakKeyDictionary[Session, Written] = WeakKeyDictionary()
        self._connections: WeakKeyDictionary[Connection, Written] = WeakKeyDictionary()

    def of_session(self, session: Session, row_id: UUID, name: str) -> None:
        """Note a row that a session has in its transaction."""
        written = self._sessions.get(session)
        if written is None:
            written = self._sessions[session] = []
            event.listen(session, "after_commit", self._session_committed)
            event.listen(session, "after_transaction_end", self._session_ended)
        written.append((row_id, name))

    def of_connection(self, connection: Connection, row_id: UUID, name: str) -> None:
        """Note a row that a connection has written in its transaction."""
        written = self._connections.get(connection)
        if written is None:
            written = self._connections[connection] = []
            event.listen(connection, "commit", self._connection_commits)
            event.listen(connection, "rollback", self._connection_rolled_back)
        written.append((row_id, name))

    def _session_committed(self, session: Session) -> None:
        # Also called where a savepoint is released.
        written = self._sessions.get(session)
        if written and not session.in_nested_transaction():
            offered, self._sessions[session] = written, []
            self._offer(session.get_bind(self._row), offered, 0)

    def _session_ended(self, session: Session, transaction: SessionTransaction) -> None:
        if transaction.parent is None and (written := self._sessions.get(session)):
            written.clear()

    def _connection_commits(self, connection: Connection) -> None:
        # Called before the commit: its rows are not there yet.
        if written := self._connections.get(connection):
            offered, self._connections[connection] = written, []
            self._offer(connection, offered, LOOKS)

    def _connection_rolled_back(self, connection: Connection) -> None:
        if written := self._connections.get(connection):
            written.clear()
