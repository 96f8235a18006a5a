"""An error as it may leave the process: its own text, and those of its causes and of a group's members, redacted.

Bounded in number and length, since an error may hold any number of others.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from traceback import extract_tb, format_list
from typing import Any, Final, cast

from pydantic import ValidationError

from oxherd.errors import is_interrupt
from oxherd.privacy.budget import Budget
from oxherd.privacy.redaction import LONGEST_TEXT, Redactor
from oxherd.privacy.stack import exception_stack

NO_TEXT: Final = "<the error has no readable text>"
LONGEST_MESSAGE: Final = 2_000
_LONGEST_TYPE: Final = 200
_MOST_ERRORS: Final = 12
_MOST_NOTES: Final = 4
_MOST_LINES: Final = 30
# pydantic writes a line for each, however many there are.
_MOST_FIELDS: Final = 200

_TRACEBACK: Final = "Traceback (most recent call last):\n"
_CAUSE, _CONTEXT, _MEMBER = "caused by", "while handling", "member"
_BETWEEN: Final = {
    _CAUSE: "The above exception was the direct cause of the following exception:",
    _CONTEXT: "During handling of the above exception, another exception occurred:",
}


def redact_exception(error: BaseException, redactor: Redactor, budget: Budget | None = None) -> tuple[str, str]:
    """An exception's type, and its message with those of its causes and members, at most 2,000 characters."""
    budget = budget or Budget()
    first, *others = _family(error)
    message = _text(first[1], redactor, budget)
    for relation, other in others:
        text, where = _text(other, redactor, budget), exception_stack(other)[-1:]
        message += f"; {relation} {type(other).__name__}{': ' if text else ''}{text}"
        message += f" ({where[0]})" if where else ""
    # Lone surrogates, as in the name of a file that is not UTF-8, could not be sent to Redis.
    return type_name(error), message.encode("utf-8", "backslashreplace").decode()[:LONGEST_MESSAGE]


def type_name(error: BaseException) -> str:
    """The name of an error's class, at most 200 characters."""
    return type(error).__name__[:_LONGEST_TYPE]


def telling_stack(error: BaseException) -> list[str]:
    """The frames of an error, or of the first of its causes and members that has any."""
    stacks = (exception_stack(each) for _, each in _family(error))
    return next(filter(None, stacks), list[str]())


def format_redacted(error: BaseException, redactor: Redactor, budget: Budget) -> str:
    """A traceback as Python writes it, causes first, at most 8,000 characters: of a longer one the last lines."""
    text = _formatted(error, redactor, budget, set()).rstrip("\n")
    return text if len(text) <= LONGEST_TEXT else text[-LONGEST_TEXT:].partition("\n")[2]


def _formatted(error: BaseException, redactor: Redactor, budget: Budget, seen: set[int]) -> str:
    seen.add(id(error))
    frames = "".join(format_list(extract_tb(error.__traceback__, limit=-_MOST_LINES)))
    budget.spend(len(frames))
    message = _text(error, redactor, budget)
    text = f"{_TRACEBACK if frames else ''}{frames}{type(error).__name__}{': ' if message else ''}{message}\n"
    for relation, other in _related(error):
        if id(other) in seen or len(seen) == _MOST_ERRORS:
            continue
        formatted = _formatted(other, redactor, budget, seen)
        if relation == _MEMBER:
            text += f"\nA member of the group:\n\n{formatted}"
        else:
            text = f"{formatted}\n{_BETWEEN[relation]}\n\n{text}"
    return text


def _family(error: BaseException) -> Iterator[tuple[str, BaseException]]:
    """An error, what it was raised from, and the members of a group, each followed by its own."""
    pending = [("", error)]
    seen: set[int] = set()
    while pending and len(seen) < _MOST_ERRORS:
        relation, each = pending.pop()
        if id(each) not in seen:
            seen.add(id(each))
            yield relation, each
            pending += reversed(_related(each))


def _related(error: BaseException) -> list[tuple[str, BaseException]]:
    """What an error was raised from, and the members of a group."""
    cause, context = error.__cause__, error.__context__
    origin = cause if cause is not None else None if error.__suppress_context__ else context
    found: list[tuple[str, BaseException]] = []
    # A cancellation says no more than the timeout or the stop that it became.
    if origin is not None and type(origin).__name__ != "CancelledError":
        found.append((_CONTEXT if cause is None else _CAUSE, origin))
    if isinstance(error, BaseExceptionGroup):
        members = cast("BaseExceptionGroup[BaseException]", error).exceptions
        found += [(_MEMBER, member) for member in members[:_MOST_ERRORS]]
    return found


def _text(error: BaseException, redactor: Redactor, budget: Budget) -> str:
    try:
        if isinstance(error, ValidationError) and error.error_count() > _MOST_FIELDS:
            text = f"{error.error_count()} validation errors for {error.title}"
        else:
            text = str(error)
        notes: Any = getattr(error, "__notes__", ())
        text = "\n".join([text, *(str(note) for note in islice(notes, _MOST_NOTES))])
    except BaseException as raised:  # an error's own __str__ may raise anything
        if is_interrupt(raised):
            raise
        return NO_TEXT
    return redactor.redact(text, budget)
