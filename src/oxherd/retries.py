"""Whether an event is tried again after what its handler raised, and when. Pure: it calls but the declared function."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from types import CoroutineType
from typing import Any, cast

from oxherd.errors import DeclarationError, Discard, OxherdError, is_interrupt
from oxherd.policy import MAX_SECONDS, Retry, Seconds, seconds

LONGEST_MS = round(MAX_SECONDS * 1000)


class _Postponed(OxherdError):
    """What a handler raises to be tried again after a time of its own."""

    def __init__(self, after: Seconds, message: str = "") -> None:
        if not isinstance(message, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DeclarationError(f"{type(self).__name__}'s message must be a text.")
        self.after = seconds(after, f"{type(self).__name__}(...)")
        # Its arguments, so that a copy or a pickle of it is made of the same.
        super().__init__(*((after, message) if message else (after,)))
        self._message = message

    def __str__(self) -> str:
        return self._message or f"to be tried again in {self.after:g} s"


class RetryIn(_Postponed):
    """Raised by a handler to be tried again after so many seconds, or a timedelta; this attempt is spent.

    `RetryIn(60, "the bank is closed")` says why. When no attempt is left, the event has failed.

    Raises:
        DeclarationError: it is not a number of seconds or a timedelta from 0 to a century.
    """


class Snooze(_Postponed):
    """Raised by a handler to be tried again after so many seconds, or a timedelta; no attempt is spent.

    `Snooze(60, "the bank is closed")` says why. An event may be snoozed without end.

    Raises:
        DeclarationError: it is not a number of seconds or a timedelta from 0 to a century.
    """


class RateLimited(_Postponed):
    """Raised by a handler at somebody else's limit: its event, with `per_key` its key, rests for so many seconds.

    Nothing of it begins meanwhile, and no attempt is spent. `RateLimited(30, "the API said 429")` says why.

    Raises:
        DeclarationError: it is not a number of seconds or a timedelta from 0 to a century.
    """


class Decision(StrEnum):
    """What an error asks for."""

    AS_DECLARED = "as declared"  # another attempt after the declared delay, while one is left
    FINAL = "final"  # no other attempt: so says the declaration
    RETRY_IN = "retry in"
    SNOOZE = "snooze"
    RATE_LIMITED = "rate limited"  # its event rests as well
    DISCARD = "discard"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to become of an event whose handler raised, as plain data.

    Attributes:
        delay_ms: before it is tried again; None: by the job's options.
        fault: why the declared function, or the error, gave no delay.
    """

    decision: Decision = Decision.AS_DECLARED
    delay_ms: int | None = None
    fault: str | None = None

    @property
    def asked_for(self) -> bool:
        """Whether the handler has asked for this, and not the declaration."""
        return self.decision in _ASKED_FOR


AS_DECLARED = Verdict()
FINAL = Verdict(Decision.FINAL)
_DISCARD = Verdict(Decision.DISCARD)
_LONGEST_NAME = 200
_UNREADABLE = (
    "it cannot be told what the {} that a handler raised asks for; if it is a RetryIn, Snooze or RateLimited, let its "
    "__init__ call super().__init__ with the delay: its event is tried again after the declared delay"
)
_POSTPONED = ((RetryIn, Decision.RETRY_IN), (RateLimited, Decision.RATE_LIMITED), (Snooze, Decision.SNOOZE))
_ASKED_FOR = frozenset({Decision.DISCARD, *(decision for _, decision in _POSTPONED)})


def judge(error: BaseException, retry: Retry, attempt: int, *, ask: bool) -> Verdict:
    """Decide after what the handler raised in this attempt, from 1; `ask` the declared function for the delay, if any.

    Of a group, one Discard suffices, else one RetryIn, else one RateLimited, else one Snooze; of several the longest
    counts.
    """
    try:
        verdict = _verdict(list(_leaves(error)), retry)
    except BaseException as raised:  # an error's own code may raise anything
        if is_interrupt(raised):
            raise
        verdict = Verdict(fault=_UNREADABLE.format(type(error).__name__[:_LONGEST_NAME]))
    return declared_delay(error, retry, attempt) if ask and verdict == AS_DECLARED else verdict


def _verdict(errors: list[BaseException], retry: Retry) -> Verdict:
    if any(isinstance(each, Discard) for each in errors):
        return _DISCARD
    for kind, decision in _POSTPONED:
        # Checked again, since a subclass may have set anything, or nothing.
        delays = [seconds(each.after, "") for each in errors if isinstance(each, kind)]
        if delays:
            return Verdict(decision, math.ceil(max(delays) * 1000))
    return AS_DECLARED if all(_allows(retry, each) for each in errors) else FINAL


def declared_delay(error: BaseException, retry: Retry, attempt: int) -> Verdict:
    """Another attempt, after the delay that the declared function returns, if there is one."""
    if isinstance(retry.backoff, str):
        return AS_DECLARED
    traceback = error.__traceback__
    try:
        given: Any = retry.backoff(attempt, error)
    except BaseException as raised:
        if is_interrupt(raised):
            raise
        return Verdict(fault=_fault(f"raised {type(raised).__name__[:_LONGEST_NAME]}"))
    finally:
        # Where the function raises the error again, that would refer to frames that refer to it.
        error.__traceback__ = traceback
    try:
        return Verdict(delay_ms=_wait_ms(given, float(cast("float", retry.max_delay))))
    except BaseException as raised:  # what it returned may have code of its own, too
        if is_interrupt(raised):
            raise
    kind = cast("type[Any]", type(given))
    if kind is CoroutineType:
        given.close()
    what = "less than 0, or NaN" if kind in (int, float, timedelta) else f"a {kind.__name__[:_LONGEST_NAME]}"
    return Verdict(fault=_fault(f"returned {what}"))


def _wait_ms(given: Any, most: float) -> int:
    number = given.total_seconds() if isinstance(given, timedelta) else given
    # Also more than a century, which would be refused.
    is_over = isinstance(number, int | float) and not isinstance(number, bool) and number > most
    return math.ceil(min(most if is_over else seconds(number, ""), most) * 1000)


def _fault(what: str) -> str:
    return (
        f"the function for Retry.backoff {what}; let it return seconds or a timedelta of at least 0: the exponential "
        "delay is taken instead"
    )


def _allows(retry: Retry, error: BaseException) -> bool:
    # Tuples, as Retry has checked them.
    on, never = cast("tuple[type[BaseException], ...] | None", retry.on), retry.never
    return not (never is not None and isinstance(error, never)) and (on is None or isinstance(error, on))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors in a group of groups; an error that is no group is one itself."""
    remaining = [error]
    while remaining:
        each = remaining.pop()
        if isinstance(each, BaseExceptionGroup):
            remaining += cast("BaseExceptionGroup[BaseException]", each).exceptions
        else:
            yield each
