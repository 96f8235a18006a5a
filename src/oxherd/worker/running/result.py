"""A handler's result as it is stored: JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from oxherd.errors import Discard


class ResultError(Discard):
    """A handler's result cannot be written as JSON."""


@dataclass(frozen=True, slots=True)
class JSONResult:
    """A result that is JSON already."""

    json: bytes


def result_json(value: Any) -> bytes:
    """Encode a handler's result; raises ResultError if it has no JSON."""
    if type(value) is JSONResult:
        return value.json
    try:
        return to_json(value, inf_nan_mode="null")
    except (PydanticSerializationError, ValueError, RecursionError):
        message = f"The handler's result, of type {type(value).__name__}, cannot be written as JSON."
    raise ResultError(message)
