"""What an outbox's table holds, what is read of it at once, and what became of that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from oxherd.producer.messages import Message

BATCH = 100


class Row(NamedTuple):
    """One event that waits; the table's columns of the same names."""

    id: UUID
    event: str
    payload: str
    lineage: str
    options: str


@dataclass(frozen=True, slots=True)
class Given:
    """The rows with these ids."""

    ids: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """The first rows after an id, of these events, that were emitted before a moment and are not refused."""

    events: tuple[str, ...]
    before: datetime
    after: UUID | None = None


Selection = Given | Page


@dataclass(slots=True)
class Results:
    """What became of rows: sent; refused, with the type of the error; or left, as their server is away."""

    sent: list[UUID] = field(default_factory=list[UUID])
    refused: dict[UUID, str] = field(default_factory=dict[UUID, str])
    left: dict[UUID, str] = field(default_factory=dict[UUID, str])  # with their events


@dataclass(slots=True)
class Delivered:
    """A selection's rows that were there, in order, and what became of them; `unknown` events also have some."""

    ids: list[UUID]
    results: Results
    unknown: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class OutboxBacklog:
    """What an outbox holds.

    Attributes:
        waiting: how many events are not sent yet.
        refused: how many cannot be sent; their rows say why.
        oldest: when the oldest of those that wait was emitted; None if none waits.
    """

    waiting: int
    refused: int
    oldest: datetime | None

    @property
    def oldest_age(self) -> float:
        """Seconds since `oldest`; 0 if none waits."""
        return 0.0 if self.oldest is None else max(0.0, (datetime.now(UTC) - self.oldest).total_seconds())


Send = Callable[[Sequence[Row]], Results]
AsyncSend = Callable[[Sequence[Row]], Awaitable[Results]]


class Store(Protocol):
    """An outbox's table, for blocking code."""

    def deliver(self, selection: Selection, send: Send) -> Delivered:
        """Read the selected rows, have `send` send them, remove those that were sent, and mark those refused."""
        ...

    def backlog(self) -> OutboxBacklog:
        """What the table holds."""
        ...


class AsyncStore(Protocol):
    """An outbox's table, for code in an event loop; as `Store`."""

    async def deliver(self, selection: Selection, send: AsyncSend) -> Delivered: ...
    async def backlog(self) -> OutboxBacklog: ...


def columns_of(message: Message) -> dict[str, object]:
    """A message as the table's columns."""
    return {
        "id": message.id,
        "event": message.event,
        "payload": message.data.decode(),
        "lineage": message.metadata,
        "options": message.options.to_json(),
        "emitted_at": datetime.fromtimestamp(message.options.emitted_ms / 1000, UTC),
        "error": None,
    }


def aware(moment: datetime | None) -> datetime | None:
    """A moment of the table's, in UTC, which a database without time zones keeps."""
    if moment is None:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def ids_of(rows: Sequence[Row]) -> list[UUID]:
    """Their ids, in order."""
    return [row.id for row in rows]
