"""An error as it may leave the process: without what the log withholds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from oxherd.context import Reason
from oxherd.errors import Discard
from oxherd.privacy.redaction import Redactor, redact_exception
from oxherd.privacy.stack import exception_stack
from oxherd.signals import ErrorInfo


class RaisedElsewhere(Exception):
    """A failure in another process: its type's name is this one's, `frames` are those of that process."""

    frames: Sequence[str] = ()


class DiscardedElsewhere(RaisedElsewhere, Discard):
    """The same of a Discard."""


def raised_elsewhere(kind: str, message: str, frames: list[str], *, discard: bool) -> RaisedElsewhere:
    """An error whose type bears the name that it had where it was raised."""
    base = DiscardedElsewhere if discard else RaisedElsewhere
    try:
        named = cast("type[RaisedElsewhere]", type(kind, (base,), {"frames": frames}))
    except ValueError:  # no name of a type: the other process has said what is not so
        named = cast("type[RaisedElsewhere]", type(base.__name__, (base,), {"frames": frames}))
    return named(message)


def describe_failure(error: BaseException | None, reason: Reason | None, redactor: Redactor) -> ErrorInfo:
    """Type, message and frames of a handler's failure; `reason` speaks where the error is only its cancellation."""
    if error is None or (reason is not None and isinstance(error, asyncio.CancelledError)):
        return ErrorInfo(type(reason).__name__ if reason is not None else "Cancelled", str(reason))
    kind, message = redact_exception(error, redactor)
    return ErrorInfo(
        kind, message, list(error.frames) if isinstance(error, RaisedElsewhere) else exception_stack(error)
    )
