"""Emits that wait for the commit of a transaction, and are dropped with its rollback."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import islice
from typing import Any, Generic, TypeVar, Unpack, cast
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from uuid_utils.compat import uuid7

from oxherd.bullmq.job import NewJob
from oxherd.declaration import check_options
from oxherd.emitted import Emitted
from oxherd.event import Event
from oxherd.producer.emit_options import EmitManyOptions, EmitOptions, new_jobs

P = TypeVar("P")
R = TypeVar("R")

_AT_ONCE = 500


def emit_on_commit(
    event: Event[P, R],
    payload: P,
    /,
    *,
    using: str | None = None,
    robust: bool = False,
    **options: Unpack[EmitOptions],
) -> Emitted[R]:
    """Emit once the open transaction of the database `using` commits; never if it, or the savepoint, is rolled back.

    The payload and the options are checked now, and the payload is sent as it is now; `delay` and `expires` count from
    the commit. Its id is known at once; `duplicate` is not. Without a transaction this is `emit_sync`.

    An emit that fails after the commit raises from the end of the block, as Django has it, and the callbacks that were
    registered after it do not run; with `robust` Django logs it, and goes on.

    Raises:
        InvalidPayload, PayloadTooLarge, UsageError: as `emit`; nothing will be sent.
        EmitError, ConfigError, ServerError: as `emit`, at the end of the block.
    """
    check_options(event.name, options, EmitOptions.__optional_keys__)
    given = options.get("id")
    event_id = uuid7() if given is None else given
    (job,) = new_jobs(event.declaration, [(event_id, payload)], options)
    sent = _payload(event, job)
    emitted: Emitted[R] = event.emitted(event_id)

    def send() -> None:
        nonlocal emitted
        emitted = _emit_now(event, sent, {**options, "id": event_id})

    transaction.on_commit(send, using, robust)
    return emitted


def emit_many_on_commit(
    event: Event[P, R],
    payloads: Iterable[P],
    /,
    *,
    using: str | None = None,
    robust: bool = False,
    **options: Unpack[EmitManyOptions],
) -> list[Emitted[R]]:
    """`emit_on_commit` for many events, in order. All are checked now."""
    check_options(event.name, options, EmitManyOptions.__optional_keys__)
    jobs = new_jobs(event.declaration, ((uuid7(), payload) for payload in payloads), options)
    emits = [(UUID(job.id), _payload(event, job)) for job in jobs]

    def send() -> None:
        _send_many(event, emits, options)

    transaction.on_commit(send, using, robust)
    return [event.emitted(event_id) for event_id, _ in emits]


def _payload(event: Event[P, Any], job: NewJob) -> P:
    # As it was when it was checked, and as its handler will be given it.
    payload = event.declaration.payload
    return payload.decode(payload.open(job.data))


def _emit_now(event: Event[P, R], payload: P, options: EmitOptions) -> Emitted[R]:
    # Not by the event's own method, which would wait again, for the transaction of a test.
    return cast("Emitted[R]", Event.emit_sync(event, payload, **options))  # pyright: ignore[reportUnknownMemberType]


def _send_many(event: Event[P, Any], emits: list[tuple[UUID, P]], options: EmitManyOptions) -> None:
    declaration = event.declaration
    if event.delivery is not None or declaration.ordered or declaration.unique is not None:
        for event_id, payload in emits:
            _emit_now(event, payload, {**options, "id": event_id})
        return
    rest = iter(emits)
    while chunk := list(islice(rest, _AT_ONCE)):
        event.run_sync(_emit_together(event, chunk, options))


async def _emit_together(event: Event[P, Any], emits: list[tuple[UUID, P]], options: EmitManyOptions) -> None:
    # What is emitted in one turn of the event loop goes with one script.
    await asyncio.gather(*(event.emit(payload, **options, id=event_id) for event_id, payload in emits))


class OnCommitEvent(Event[P, R], Generic[P, R]):
    """An event whose `emit_sync` and `emit_many_sync` wait for the commit, where this thread has a transaction."""

    def emit_sync(self, payload: P, /, **options: Unpack[EmitOptions]) -> Emitted[R]:
        """`emit`, or within a transaction `emit_on_commit`."""
        using = _open_transaction()
        if using is None:
            return super().emit_sync(payload, **options)
        return emit_on_commit(self, payload, using=using, **options)

    def emit_many_sync(self, payloads: Iterable[P], /, **options: Unpack[EmitManyOptions]) -> list[Emitted[R]]:
        """`emit_many`, or within a transaction `emit_many_on_commit`."""
        using = _open_transaction()
        if using is None:
            return super().emit_many_sync(payloads, **options)
        return emit_many_on_commit(self, payloads, using=using, **options)


def _open_transaction() -> str | None:
    """The database of this thread's open transaction; of several, the default one if it is among them."""
    found = [each.alias for each in connections.all(initialized_only=True) if each.in_atomic_block]
    return DEFAULT_DB_ALIAS if DEFAULT_DB_ALIAS in found else next(iter(found), None)
