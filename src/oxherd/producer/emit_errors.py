"""The errors of an emit: each says whether the event may be stored, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from oxherd.errors import EmitError, NotDurable, OxherdError
from oxherd.redis.call_state import Unconfirmed


def not_acknowledged(event: str, cause: BaseException, timeout: float, *, maybe_stored: bool) -> EmitError:
    """Redis did not answer within `timeout` seconds, or refused."""
    why = str(cause) or f"no answer within {timeout:g} s"
    hint = "it may be stored: emit it again with the same id" if maybe_stored else "it is not stored"
    return EmitError(f"{event} was not acknowledged ({why.rstrip('.')}); {hint}.", maybe_stored=maybe_stored)


def not_durable(event: str, error: Unconfirmed, *, maybe_stored: bool) -> NotDurable:
    """The replicas or the disk did not confirm the event, or there are none."""
    where = "is stored on the primary" if error.stored else "may be stored" if maybe_stored else "is not stored"
    replicas = (0, 0)
    if error.missing == "replicas":
        replicas = (error.confirmed, error.wanted)
        missing = f"{error.confirmed} of {error.wanted} replicas confirmed in time that they have what was written"
        check = "the replicas,"
    else:
        missing = "its disk did not confirm in time that it has what was written"
        check = "the disk and appendfsync,"
    if error.why:
        text = f"{event} cannot be made durable, and {where}: {error.why}."
    else:
        text = f"{event} {where}, but {missing}; see to {check} and emit it again with the same id."
    return NotDurable(text, missing=error.missing, replicas=replicas, maybe_stored=maybe_stored)


def partly_acknowledged(errors: Sequence[BaseException], emitted: Sequence[Any], total: int) -> BaseException:
    """The error of an `emit_many` that sent `emitted` of `total` events before the first of `errors`."""
    first = errors[0]
    if not isinstance(first, OxherdError) or total == 1:
        return first
    maybe = any(isinstance(error, EmitError) and error.maybe_stored for error in errors)
    text = f"{len(emitted)} of {total} were acknowledged: {first}"
    if isinstance(first, NotDurable):
        return NotDurable(text, missing=first.missing, replicas=first.replicas, emitted=emitted, maybe_stored=maybe)
    return EmitError(text, emitted=emitted, maybe_stored=maybe)
