"""What a log and a dashboard say of an error: with its causes, its members and where they were raised, redacted."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from oxherd.privacy.budget import Budget
from oxherd.privacy.error_text import LONGEST_MESSAGE, format_redacted, redact_exception, telling_stack
from oxherd.privacy.redaction import LONGEST_TEXT, Redactor

CANARY = "kanarie7391"


def redactor() -> Redactor:
    return Redactor(json.dumps([CANARY]).encode(), None, frozenset())


def caught(function: Callable[[], Any]) -> BaseException:
    try:
        function()
    except BaseException as error:  # noqa: BLE001 - that is what is described
        return error
    raise AssertionError


def refuse(text: str) -> None:
    raise ConnectionError(f"refused {text}")


def explicit() -> None:
    try:
        refuse(CANARY)
    except ConnectionError as error:
        raise ValueError("could not charge") from error


def implicit() -> None:
    try:
        refuse(CANARY)
    except ConnectionError:
        raise ValueError("could not charge")  # noqa: B904 - that is the test


def hidden() -> None:
    try:
        refuse(CANARY)
    except ConnectionError:
        raise ValueError("could not charge") from None


def group() -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.sleep(0))
            tasks.create_task(fail())

    async def fail() -> None:
        refuse(CANARY)

    asyncio.run(main())


def nested() -> None:
    error = KeyError(CANARY)
    error.add_note(f"see {CANARY}")
    raise ExceptionGroup("outer", [ExceptionGroup("inner", [error]), TimeoutError()])


def exhausted() -> None:
    async def handler() -> None:
        next(iter(()))

    asyncio.run(handler())


REFUSED = f"ConnectionError: refused *** (test_error_text.py:{refuse.__code__.co_firstlineno + 1} refuse)"


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (explicit, f"could not charge; caused by {REFUSED}"),
        (implicit, f"could not charge; while handling {REFUSED}"),
        (hidden, "could not charge"),
        (group, f"unhandled errors in a TaskGroup (1 sub-exception); member {REFUSED}"),
        (
            nested,
            "outer (2 sub-exceptions); member ExceptionGroup: inner (1 sub-exception); "
            "member KeyError: '***'\nsee ***; member TimeoutError",
        ),
        (
            exhausted,
            "coroutine raised StopIteration; caused by StopIteration "
            f"(test_error_text.py:{exhausted.__code__.co_firstlineno + 2} handler)",
        ),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_message_says_causes_and_members(function: Callable[[], None], message: str) -> None:
    _, said = redact_exception(caught(function), redactor())
    assert said == message


def test_the_stack_of_an_error_that_was_never_raised_is_that_of_its_cause() -> None:
    error = ValueError("made by a library")
    error.__cause__ = caught(explicit)
    assert telling_stack(error)[-1] == f"test_error_text.py:{explicit.__code__.co_firstlineno + 4} explicit"


@pytest.mark.parametrize("function", [explicit, implicit, group, nested, exhausted], ids=lambda each: each.__name__)
def test_a_traceback_shows_all_of_them_redacted(function: Callable[[], None]) -> None:
    error = caught(function)
    text = format_redacted(error, redactor(), Budget())
    assert CANARY not in text
    assert f"{type(error).__name__}: {error}" in text
    for other in (error.__cause__, *getattr(error, "exceptions", ())):
        assert other is None or f"{type(other).__name__}" in text


def endless() -> BaseException:
    one, other = ValueError(CANARY), KeyError(CANARY)
    one.__cause__, other.__cause__ = other, one
    return one


def chained() -> BaseException:
    error: BaseException = ValueError("x" * 5_000)
    for _ in range(2_000):
        after = RuntimeError(f"{CANARY} " * 500)
        after.__cause__ = error
        error = after
    return error


def recursed() -> BaseException:
    def deep(depth: int) -> None:
        if depth:
            deep(depth - 1)
        raise ValueError(CANARY * 1_000)

    return caught(lambda: deep(900))


def many_fields() -> BaseException:
    with pytest.raises(ValidationError) as error:
        TypeAdapter(list[int]).validate_python([CANARY] * 20_000)
    return error.value


@pytest.mark.parametrize(
    "make",
    [endless, chained, recursed, many_fields, lambda: ExceptionGroup("g", [ValueError(CANARY)] * 20_000)],
    ids=["endless", "chained", "recursed", "many fields", "many members"],
)
def test_an_error_of_any_size_is_told_in_bounded_time_and_length(make: Callable[[], BaseException]) -> None:
    error, made = make(), redactor()
    began = time.process_time()
    _, message = redact_exception(error, made)
    text = format_redacted(error, made, Budget())
    assert time.process_time() - began < 0.2
    assert CANARY not in message + text
    assert len(message) <= LONGEST_MESSAGE
    assert len(text) <= LONGEST_TEXT
