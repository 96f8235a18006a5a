"""The outbox for Django: emits are rows of the caller's transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from functools import partial
from typing import Any, TypeVar, Unpack

from asgiref.sync import sync_to_async
from django.db import DEFAULT_DB_ALIAS, transaction

from oxherd.app import Oxherd
from oxherd.context import running_loop
from oxherd.emitted import Emitted
from oxherd.errors import DeclarationError, UsageError
from oxherd.event import Event
from oxherd.outbox.courier import Courier, deliver_here
from oxherd.outbox.django.models import OutboxRow
from oxherd.outbox.django.store import BackgroundStore, DjangoStore, stored
from oxherd.outbox.rows import OutboxBacklog, columns_of
from oxherd.outbox.thread_sender import ThreadSenders
from oxherd.policy import Seconds, seconds
from oxherd.producer.emit_options import EmitOptions
from oxherd.producer.messages import Message

P = TypeVar("P")
R = TypeVar("R")


class Outbox:
    """Keeps emits in a table of the project's database until their transaction is committed and Redis has them.

    What a process has committed, it sends at once in the background; what it leaves when it dies, the workers of the
    herd send, at least once; within a day, one id makes no second event.

    Args:
        herd: where the events are declared; its workers sweep the table, for other processes as well.
        using: the database; one with events in several databases has an outbox for each.
        grace: seconds (or a timedelta) after its emit that a row is left to the process that wrote it.

    Raises:
        DeclarationError: an argument is invalid.
    """

    def __init__(self, herd: Oxherd, *, using: str = DEFAULT_DB_ALIAS, grace: Seconds = 10) -> None:
        if not isinstance(herd, Oxherd):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DeclarationError("Outbox takes a herd, such as Outbox(herd).")
        self.herd = herd
        self.using = using
        courier = Courier(herd, "oxherd_outbox")
        self._senders = ThreadSenders(BackgroundStore(using), courier, seconds(grace, "grace", least=0.001))
        herd.worker_lifespan(self._sweep)

    def emit(self, event: Event[P, R], payload: P, /, **options: Unpack[EmitOptions]) -> Emitted[R]:
        """Emit an event if, and once, the open transaction is committed. Writes a row; does not wait for Redis.

        Outside a transaction, the row is committed at once. The options are those of `Event.emit`; `delay` and
        `expires` count from this call.

        Raises:
            InvalidPayload, PayloadTooLarge: as `Event.emit`; nothing is written.
            UsageError: the same, and for an event of another herd.
        """
        if not isinstance(event, Event) or event.herd is not self.herd:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError("outbox.emit takes an event of the outbox's herd: outbox.emit(order_placed, order).")
        message = event.message(payload, **options)
        columns: dict[str, Any] = columns_of(message)
        emitted_at: datetime = columns["emitted_at"]
        OutboxRow.objects.using(self.using).create(**{**columns, "emitted_at": stored(emitted_at)})
        transaction.on_commit(partial(self._committed, message), using=self.using)
        return event.emitted(message.id)

    async def aemit(self, event: Event[P, R], payload: P, /, **options: Unpack[EmitOptions]) -> Emitted[R]:
        """`emit` from async code, which Django lets have no transaction: it is committed when this returns."""
        return await sync_to_async(self.emit)(event, payload, **options)

    async def backlog(self) -> OutboxBacklog:
        """What the table holds: how many events wait, since when, and how many cannot be sent."""
        return await sync_to_async(self.backlog_sync)()

    def backlog_sync(self) -> OutboxBacklog:
        """`backlog` from code without an event loop."""
        return DjangoStore(self.using).backlog()

    async def flush(self, timeout: Seconds = 10) -> bool:
        """Wait until what this process has committed is sent; whether it is."""
        return await self._senders.flush(seconds(timeout, "timeout"))

    def flush_sync(self, timeout: Seconds = 10) -> bool:
        """`flush` from code without an event loop."""
        return self._senders.flush_sync(seconds(timeout, "timeout"))

    async def close(self) -> None:
        """Stop sending in this process, after the batch that is on its way; the next emit begins anew."""
        await self._senders.close()

    def close_sync(self) -> None:
        """`close` from code without an event loop."""
        self._senders.close_sync()

    def _committed(self, message: Message) -> None:
        written = [(message.id, message.event)]
        delivery = self.herd.delivery
        if delivery is None or running_loop() is not None:
            self._senders.offer(written)
        else:
            deliver_here(self.herd, delivery, DjangoStore(self.using), written)

    async def _sweep(self, _: Oxherd) -> AsyncIterator[None]:
        async with self._senders.sweep():
            yield
