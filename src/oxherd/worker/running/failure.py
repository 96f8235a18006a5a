"""A handler's failure as it may leave the process: redacted of what the log withholds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from oxherd.context import Cancelled, Context
from oxherd.errors import is_interrupt
from oxherd.policy import Retry
from oxherd.privacy.error_text import NO_TEXT, redact_exception, telling_stack, type_name
from oxherd.privacy.redaction import Redactor
from oxherd.retries import AS_DECLARED, Verdict, judge
from oxherd.signals import ErrorInfo

SELF_CANCELLED = ErrorInfo("CancelledError", "cancelled from inside the handler")


def cancelled_error(reason: str, stack: Sequence[str] = ()) -> ErrorInfo:
    """What an event has failed of that was cancelled from outside."""
    return ErrorInfo(Cancelled.__name__, str(Cancelled(reason)), list(stack))


@dataclass(frozen=True, slots=True)
class Raised:
    """What a handler raised: a description, so that the error, with its frames, ends where it was caught.

    Attributes:
        verdict: what the error means for another attempt.
        cancelled: it is asyncio's CancelledError.
    """

    error: ErrorInfo
    verdict: Verdict = AS_DECLARED
    cancelled: bool = False


def describe_raised(error: BaseException, context: Context, retry: Retry, *, ask_backoff: bool) -> Raised:
    """Describe what a handler raised, with what its event's log withholds redacted, and judge it by `retry`.

    `ask_backoff`: a function of that says when it is tried again.
    """
    redactor = context.redactor
    assert redactor is not None  # noqa: S101 - there is one as soon as the payload is known
    # Not isinstance, which asks the error what its class is.
    cancelled = issubclass(type(error), asyncio.CancelledError)
    # One that was told to stop is judged by the reason.
    ask = ask_backoff and context.cancelled is None
    return Raised(describe_failure(error, redactor), judge(error, retry, context.attempt, ask=ask), cancelled)


def describe_failure(error: BaseException, redactor: Redactor) -> ErrorInfo:
    """Type, message and stack of a handler's failure."""
    try:
        kind, message = redact_exception(error, redactor)
        stack = telling_stack(error)
    except BaseException as raised:  # an error's own code may raise anything
        if is_interrupt(raised):
            raise
        return ErrorInfo(type_name(error), NO_TEXT)
    if issubclass(type(error), asyncio.CancelledError):
        message = message or SELF_CANCELLED.message
    return ErrorInfo(kind, message, stack)
