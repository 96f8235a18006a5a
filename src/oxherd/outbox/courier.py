"""Sends an outbox's rows as the events that they are, and reports what cannot be sent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

from oxherd.app import Oxherd
from oxherd.errors import ConfigError, EmitError, OxherdError, RedisUnavailable, SealError, ServerError, UsageError
from oxherd.event import Event
from oxherd.outbox.rows import Delivered, Given, Results, Row, Store, ids_of
from oxherd.producer.delivery import Delivery
from oxherd.producer.messages import read_options, relayed_job
from oxherd.redis.call_state import Unconfirmed
from oxherd.redis.client import ScriptError
from oxherd.redis.error_mapping import describe
from oxherd.signals import ErrorInfo, QueueFault

_MOST_CAUSES = 16
# The connection says so itself, once for each outage.
_AWAY = (RedisUnavailable, TimeoutError)
# Over once somebody has mended the server, its data, or this process's settings: no fault of the row.
_LASTING = (ScriptError, Unconfirmed, EmitError, ConfigError, ServerError, SealError)


class Courier:
    """One herd's; `name` is the outbox's table, as `queue.error` names it."""

    def __init__(self, herd: Oxherd, name: str) -> None:
        self._herd = herd
        self._name = name
        self._reported: set[str] = set()

    def events(self) -> Iterator[str]:
        """The names of the events that are declared here."""
        return (event.name for event in self._herd)

    async def send(self, rows: Sequence[Row]) -> Results:
        """Send rows, at once, so that they go with one script where they go to one queue; what fails is reported."""
        events = {event.name: event for event in self._herd}
        known = [(row, events[row.event]) for row in rows if row.event in events]
        errors = await asyncio.gather(*(_relay(event, row) for row, event in known))
        results = Results()
        for (row, event), error in zip(known, errors, strict=True):
            self._sort(row, event, error, results)
        return results

    def _sort(self, row: Row, event: Event[Any, Any], error: Exception | None, results: Results) -> None:
        if error is None:
            results.sent.append(row.id)
            self._reported.discard(event.name)
        elif isinstance(error, UsageError) and not isinstance(error, _LASTING):
            results.refused[row.id] = type(error).__name__
            self._report(event, ErrorInfo(type(error).__name__, str(error)), row)
        else:
            results.left[row.id] = row.event
            if not isinstance(error, _AWAY):
                self._once(event.name, ErrorInfo(type(error).__name__, _text(error)), event, row)

    def noted(self, delivered: Delivered) -> None:
        """Report events that are not declared here, once each, and that the database is back, for its next outage."""
        self._reported.discard(self._name)
        for name in delivered.unknown:
            text = f"the outbox holds events {name}, which is not declared here; they are left to workers that know it"
            self._once(name, ErrorInfo("UnknownEvent", text))

    def crashed(self, error: Exception) -> None:
        """Report, once until it is over, that the table cannot be used; not its message, which may hold a payload."""
        kind = type(error).__name__
        text = f"the outbox's table cannot be read or written ({kind}); see to the database: what waits is sent then"
        self._once(self._name, ErrorInfo(kind, text))

    def _once(self, cause: str, error: ErrorInfo, event: Event[Any, Any] | None = None, row: Row | None = None) -> None:
        if cause in self._reported or len(self._reported) >= _MOST_CAUSES:
            return
        self._reported.add(cause)
        self._report(event, error, row)

    def _report(self, event: Event[Any, Any] | None, error: ErrorInfo, row: Row | None) -> None:
        queue = self._name if event is None else event.declaration.queue
        event_id = None if row is None else str(row.id)
        name = None if event is None else event.name
        self._herd.signals.emit(QueueFault(source="emit", queue=queue, error=error, event=name, event_id=event_id))


def deliver_here(herd: Oxherd, delivery: Delivery, store: Store, written: Iterable[tuple[UUID, str]]) -> None:
    """Give a test kit what was committed, in the caller's thread; what its handlers raise, this raises."""

    def send(rows: Sequence[Row]) -> Results:
        for row in rows:
            declared, options = herd[row.event].declaration, read_options(row.options)
            job = relayed_job(declared, str(row.id), row.payload.encode(), row.lineage, options)
            delivery.deliver_sync(declared, [job], "emit")
        return Results(ids_of(rows))

    store.deliver(Given(tuple(row_id for row_id, _ in written)), send)


async def _relay(event: Event[Any, Any], row: Row) -> Exception | None:
    try:
        await event.relay(str(row.id), row.payload.encode(), row.lineage, read_options(row.options))
    except Exception as error:  # noqa: BLE001 - reported, and the row is kept
        return error
    return None


def _text(error: Exception) -> str:
    """What may be said of an error: of one that is not ours, only its type."""
    known = isinstance(error, OxherdError | ScriptError | Unconfirmed)
    return describe(error) if known else "the event was not sent, and stays in the outbox"
