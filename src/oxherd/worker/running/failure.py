"""A handler's failure as it may leave the process: redacted of what the log withholds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from oxherd.context import Cancelled, Context
from oxherd.errors import Discard
from oxherd.privacy.error_text import redact_exception, telling_stack
from oxherd.privacy.redaction import Redactor
from oxherd.signals import ErrorInfo

SELF_CANCELLED = ErrorInfo("CancelledError", "cancelled from inside the handler")


def cancelled_error(reason: str, stack: Sequence[str] = ()) -> ErrorInfo:
    """What an event has failed of that was cancelled from outside."""
    return ErrorInfo(Cancelled.__name__, str(Cancelled(reason)), list(stack))


@dataclass(frozen=True, slots=True)
class Raised:
    """What a handler raised: a description, so that the error, with its frames, ends where it was caught.

    Attributes:
        discard: it is a Discard, or a group with one among its members.
        cancelled: it is asyncio's CancelledError.
    """

    error: ErrorInfo
    discard: bool = False
    cancelled: bool = False


def describe_raised(error: BaseException, context: Context) -> Raised:
    """Describe what a handler raised, with what its event's log withholds redacted."""
    redactor = context.redactor
    assert redactor is not None  # noqa: S101 - there is one as soon as the payload is known
    cancelled = isinstance(error, asyncio.CancelledError)
    return Raised(describe_failure(error, redactor), _is_discard(error), cancelled)


def describe_failure(error: BaseException, redactor: Redactor) -> ErrorInfo:
    """Type, message and stack of a handler's failure."""
    kind, message = redact_exception(error, redactor)
    if isinstance(error, asyncio.CancelledError):
        message = message or SELF_CANCELLED.message
    return ErrorInfo(kind, message, telling_stack(error))


def _is_discard(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        # One member suffices: another run would come to it again.
        return any(map(_is_discard, cast("BaseExceptionGroup[Any]", error).exceptions))
    return isinstance(error, Discard)
