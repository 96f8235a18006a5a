"""Why a payload was refused, in words that hold none of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticKnownError
from pydantic_core.core_schema import ErrorType

NAMED_FIELDS: Final = 5

# A longer place, of a type that holds itself, is named by its two ends.
_NAMED_PARTS: Final = 12
_NAMED_LAST: Final = 4

# From six digits on a number is a value that may not be shown, also where it stands as a key of a mapping.
_LARGEST_INDEX: Final = 99_999

# pydantic's errors whose message comes from the declaration alone. Others may quote the payload.
_SAFE: Final = frozenset(
    """
    json_type needs_python_object recursion_loop recursion_depth_exceeded missing frozen_field frozen_instance
    extra_forbidden invalid_key model_type model_attributes_type dataclass_type dataclass_exact_type named_tuple_type
    default_factory_not_called none_required greater_than greater_than_equal less_than less_than_equal multiple_of
    finite_number too_short iterable_type string_type string_sub_type string_unicode string_too_short string_too_long
    string_pattern_mismatch string_not_ascii enum dict_type frozen_dict_type ordered_dict_type counter_type list_type
    deque_type tuple_type set_type set_item_not_hashable bool_type bool_parsing int_type int_parsing int_parsing_size
    int_from_float float_type float_parsing bytes_type bytes_too_short bytes_too_long literal_error date_type
    date_from_datetime_parsing date_from_datetime_inexact date_past date_future time_type time_parsing datetime_type
    datetime_parsing datetime_from_date_parsing datetime_past datetime_future timezone_naive timezone_aware
    time_delta_type time_delta_parsing frozen_set_type is_instance_of is_subclass_of callable_type union_tag_not_found
    url_type url_too_long url_scheme uuid_type uuid_version decimal_type decimal_parsing decimal_max_digits
    decimal_max_places decimal_whole_digits fraction_type fraction_parsing complex_type complex_str_parsing
    date_parsing
    """.split()  # noqa: SIM905  # a list would be a line a code
)
_KNOWN: Final[frozenset[str]] = frozenset(get_args(ErrorType))
_ALTERNATIVES: Final = re.compile(", | or ")
_POSITION: Final = re.compile(r"at line (\d+) column (\d+)$")


def location(loc: Sequence[str | int], names: frozenset[str]) -> str:
    """A field's place, in declared names and small indexes only; anything else, a mapping's key say, is `*`."""
    parts = [
        str(part) if (part in names if isinstance(part, str) else 0 <= part <= _LARGEST_INDEX) else "*" for part in loc
    ]
    if len(parts) > _NAMED_PARTS:
        return ".".join(parts[: _NAMED_PARTS - _NAMED_LAST]) + " ... " + ".".join(parts[-_NAMED_LAST:])
    return ".".join(parts)


def _declared(context: dict[str, Any], declaration: str) -> dict[str, Any]:
    """What a message is filled in with; raises `ValueError` if it may be the payload's, not the declaration's.

    A validator of the user's may raise one of pydantic's own errors, filled in with the value.
    """
    for key, value in context.items():
        small = isinstance(value, int) and abs(value) <= _LARGEST_INDEX
        parts = _ALTERNATIVES.split(value) if isinstance(value, str) else [repr(value)]
        # The schema's text is a repr, in which a pattern's backslashes are doubled.
        if key != "error" and not small and not all(p in declaration or repr(p)[1:-1] in declaration for p in parts):
            raise ValueError
    # pydantic's own words on a date or time stand in no declaration.
    return {**context, "error": "it cannot be read"} if "error" in context else context


def _message(error: ErrorDetails, declaration: str) -> str:
    code = error["type"]
    if code == "json_invalid":
        return "it is not valid JSON" + _position(error["msg"])
    if code in _SAFE and code in _KNOWN:
        try:
            context = _declared(error["ctx"], declaration) if "ctx" in error else None
            # Its template anew: a validator of the user's may raise an error of the same code with a text of its own.
            return PydanticKnownError(code, context).message()  # pyright: ignore[reportArgumentType]  # a str
        except (TypeError, KeyError, ValueError):
            return code
    return code if code in _KNOWN else "refused by its validator"


def _position(message: str) -> str:
    found = _POSITION.search(message)
    return f" (line {found[1]}, column {found[2]})" if found else ""


def reasons(error: ValidationError, names: frozenset[str], declaration: str) -> str:
    """The refused fields and why, at most five, with no value and no name that is not declared in `names`.

    `declaration` is the type's schema as text: what a message says of the type must stand there.
    """
    errors: list[Any] = error.errors(include_url=False, include_input=False)
    lines = list(
        dict.fromkeys(": ".join(filter(None, (location(e["loc"], names), _message(e, declaration)))) for e in errors)
    )
    more = [f"and {len(lines) - NAMED_FIELDS} more"] if len(lines) > NAMED_FIELDS else []
    return "; ".join(lines[:NAMED_FIELDS] + more)
