"""Emits that wait for the commit of a transaction, and are dropped with its rollback."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar, Unpack
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from uuid_utils.compat import uuid7

from oxherd.declaration import check_options
from oxherd.emitted import Emitted
from oxherd.event import Event
from oxherd.producer.emit_options import EmitManyOptions, EmitOptions, new_jobs

P = TypeVar("P")
R = TypeVar("R")


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
    emitted: Emitted[R] = event.emitted(event_id)

    def send() -> None:
        nonlocal emitted
        emitted = event.send_sync(job, explicit_id=given is not None)

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
    emitted: list[Emitted[R]] = [event.emitted(UUID(job.id)) for job in jobs]

    def send() -> None:
        nonlocal emitted
        emitted = event.send_many_sync(jobs)

    transaction.on_commit(send, using, robust)
    return emitted


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
