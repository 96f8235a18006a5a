"""A sanitiser that shows the fields that it names, and nothing else: `sanitize=Allow("order_id", "customer.id")`."""

from __future__ import annotations

from typing import Any, Final, cast

from oxherd.errors import DeclarationError
from oxherd.privacy.paths import Branch

_NOTHING: Final = object()


class Allow:
    """Names the fields of a payload that the log may show, by dotted paths for nested ones; their masks still hold.

    Lists are passed through: `"lines.sku"` is the `sku` of every line. So are mappings whose values have fields; of
    them a list of the values is shown, since their keys are data.

    Raises `DeclarationError` where it names no field, and at the event's declaration where the payload's type has none
    of that name.
    """

    __slots__ = ("paths",)

    paths: tuple[str, ...]

    def __init__(self, *paths: str) -> None:
        if not paths:
            raise DeclarationError("Allow() names no field: name one, or leave it out to show nothing.")
        self.paths = paths

    def __repr__(self) -> str:
        return f"Allow({', '.join(map(repr, self.paths))})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Allow) and set(self.paths) == set(other.paths)

    def __hash__(self) -> int:
        return hash(frozenset(self.paths))


def only(value: Any, branch: Branch) -> Any:
    """Of a JSON value what the branch leads to; None where that is nothing."""
    found = _only(value, branch)
    return None if found is _NOTHING else found


def _only(value: Any, branch: Branch | None) -> Any:
    if branch is None or value is None:
        return value
    if isinstance(value, list):
        return _each(cast("list[Any]", value), branch)
    if not isinstance(value, dict):
        return _NOTHING
    pairs = cast("dict[str, Any]", value)
    if branch.each is not None:
        return _each(list(pairs.values()), branch.each)
    found = {name: _only(pairs[name], below) for name, below in branch.fields.items() if name in pairs}
    return {name: part for name, part in found.items() if part is not _NOTHING}


def _each(values: list[Any], branch: Branch) -> list[Any]:
    return [part for value in values if (part := _only(value, branch)) is not _NOTHING]
