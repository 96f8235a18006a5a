"""Describes why a payload was refused, without quoting it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticKnownError
from pydantic_core.core_schema import ErrorType

LISTED_ERRORS: Final = 5

# The path of a recursive type may be long: only its two ends are shown.
_PATH_PARTS: Final = 12
_PATH_END: Final = 4
# Numbers of six digits or more may be values, also as keys of a mapping.
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
    """.split()  # noqa: SIM905  # a list would take a line for each code
)
_KNOWN: Final[frozenset[str]] = frozenset(get_args(ErrorType))
_ALTERNATIVES: Final = re.compile(", | or ")
# Valid JSON that pydantic's parser does not read, by what it says of it.
_LIMITS: Final = {
    "recursion limit exceeded": "its JSON is nested more than 200 levels deep",
    "number out of range": "its JSON has an integer of more than 4,300 digits",
}
_POSITION: Final = re.compile(r"at line (\d+) column (\d+)$")


def field_path(path: Sequence[str | int], names: frozenset[str]) -> str:
    """A path in dots: declared names and small indices as they are, anything else, such as a mapping's key, as `*`."""
    parts = [
        str(key) if (key in names if isinstance(key, str) else 0 <= key <= _LARGEST_INDEX) else "*" for key in path
    ]
    if len(parts) > _PATH_PARTS:
        return ".".join(parts[: _PATH_PARTS - _PATH_END]) + " ... " + ".".join(parts[-_PATH_END:])
    return ".".join(parts)


def describe(error: ValidationError, names: frozenset[str], declaration: str) -> str:
    """The refused fields and why, at most five, without values or names that are not declared.

    `names` are the declared names, `declaration` is the type's schema as text: a message may quote these only.
    """
    errors: list[Any] = error.errors(include_url=False, include_input=False)
    found = (filter(None, (field_path(each["loc"], names), _message(each, declaration))) for each in errors)
    lines = list(dict.fromkeys(": ".join(parts) for parts in found))
    more = [f"and {len(lines) - LISTED_ERRORS} more"] if len(lines) > LISTED_ERRORS else []
    return "; ".join(lines[:LISTED_ERRORS] + more)


def _message(error: ErrorDetails, declaration: str) -> str:
    code = error["type"]
    if code == "json_invalid":
        limit = next((text for reason, text in _LIMITS.items() if reason in error["msg"]), None)
        if limit is not None:
            return limit
        position = _POSITION.search(error["msg"])
        return "it is not valid JSON" + (f" (line {position[1]}, column {position[2]})" if position else "")
    if code in _SAFE and code in _KNOWN:
        try:
            context = _declared(error["ctx"], declaration) if "ctx" in error else None
            # Not the error's own text: a user's validator may raise an error of this code with another template.
            return PydanticKnownError(code, context).message()  # pyright: ignore[reportArgumentType]  # a str
        except (TypeError, KeyError, ValueError):
            return code
    return code if code in _KNOWN else "refused by its validator"


def _declared(context: dict[str, Any], declaration: str) -> dict[str, Any]:
    """A message's values; raises ValueError for one that is not the declaration's.

    A user's validator may raise one of pydantic's own errors with the payload's values in it.
    """
    for key, value in context.items():
        small = isinstance(value, int) and abs(value) <= _LARGEST_INDEX
        parts = _ALTERNATIVES.split(value) if isinstance(value, str) else [repr(value)]
        # In the schema's repr, a pattern's backslashes are doubled.
        if key != "error" and not small and not all(p in declaration or repr(p)[1:-1] in declaration for p in parts):
            raise ValueError
    # pydantic's reason why a date or time does not parse is in no declaration.
    return {**context, "error": "it cannot be read"} if "error" in context else context
