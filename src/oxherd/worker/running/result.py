"""A handler's result as it is stored: JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, Final, cast

from pydantic_core import to_json

from oxherd.errors import UsageError, is_interrupt

_PLAIN: Final = frozenset({type(None), bool, int, float, str, list, dict})
_NOT_DONE: Final[tuple[type[Any], ...]] = (Iterator, AsyncIterator, Future)


@dataclass(frozen=True, slots=True)
class JSONResult:
    """A result as JSON; `dropped` says what is wrong with one that is not stored."""

    json: bytes = b"null"
    dropped: str | None = None


def is_awaitable(value: Any) -> bool:
    """Whether a handler's result has yet to be awaited: a decorator's often has."""
    if type(value) in _PLAIN:
        return False
    try:
        return isawaitable(value)
    except BaseException as error:  # of its own `__class__`
        if is_interrupt(error):
            raise
        return False


def encode_result(value: Any, most: int) -> JSONResult:
    """Encode a handler's result, in `most` bytes. Where that cannot be done, the work was done all the same.

    Raises:
        UsageError: the result is work that has yet to be done.
    """
    kind = cast("type[Any]", type(value))
    if kind not in _PLAIN and issubclass(kind, _NOT_DONE):
        raise UsageError(f"The handler returned work that is not done yet ({kind.__name__}); return what comes of it.")
    try:
        json = to_json(value, inf_nan_mode="null")
    except BaseException as error:
        if is_interrupt(error):
            raise
        return JSONResult(dropped=f"the handler's result, of type {kind.__name__}, cannot be written as JSON")
    if len(json) > most:
        sizes = f"the handler's result is {len(json)} bytes of JSON and the limit is {most} bytes"
        return JSONResult(dropped=f"{sizes}: return less, or raise max_payload")
    return JSONResult(json)
