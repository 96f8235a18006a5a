"""A handler's failure as it may leave the process: redacted of what the log withholds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from oxherd.context import Reason
from oxherd.errors import Discard
from oxherd.privacy.error_text import redact_exception, telling_stack
from oxherd.privacy.redaction import Redactor
from oxherd.signals import ErrorInfo


class RaisedElsewhere(Exception):
    """A failure in a handler's process, under its type's name; `frames` are its stack there."""

    frames: Sequence[str] = ()


class DiscardedElsewhere(RaisedElsewhere, Discard):
    """A Discard in a handler's process."""


def raised_elsewhere(kind: str, message: str, frames: list[str], *, discard: bool) -> RaisedElsewhere:
    """An error of a new type, named `kind` if that can be a type's name."""
    base = DiscardedElsewhere if discard else RaisedElsewhere
    try:
        named = cast("type[RaisedElsewhere]", type(kind, (base,), {"frames": frames}))
    except ValueError:  # the process may have sent anything
        named = cast("type[RaisedElsewhere]", type(base.__name__, (base,), {"frames": frames}))
    return named(message)


def describe_failure(error: BaseException | None, reason: Reason | None, redactor: Redactor) -> ErrorInfo:
    """Type, message and stack of a handler's failure; of its cancellation, `reason` instead."""
    if error is None or (reason is not None and isinstance(error, asyncio.CancelledError)):
        return ErrorInfo(type(reason).__name__ if reason is not None else "Cancelled", str(reason))
    kind, message = redact_exception(error, redactor)
    return ErrorInfo(kind, message, list(error.frames) if isinstance(error, RaisedElsewhere) else telling_stack(error))
