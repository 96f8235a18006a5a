"""A sanitiser that shows only the fields that it names: `sanitize=Allow("order_id", "customer.id")`."""

from __future__ import annotations

from typing import Any, Final, cast

from oxherd.errors import DeclarationError
from oxherd.payload.paths import PathTree

_NOTHING: Final = object()


class Allow:
    """Names the fields of a payload that the log shows, by dotted paths; their masks still apply.

    Lists are passed through: `"lines.sku"` is the `sku` of every line. Mappings whose values have fields are too, and
    are shown as a list of those values, since their keys are data.

    Raises:
        DeclarationError: it names no field; at the event's declaration, a field that the payload's type lacks.
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


def select(value: Any, tree: PathTree) -> Any:
    """The part of a JSON value that the tree selects, or None."""
    found = _select(value, tree)
    return None if found is _NOTHING else found


def _select(value: Any, tree: PathTree | None) -> Any:
    if tree is None or value is None:
        return value
    if isinstance(value, list):
        return _select_each(cast("list[Any]", value), tree)
    if not isinstance(value, dict):
        return _NOTHING
    pairs = cast("dict[str, Any]", value)
    if tree.each is not None:
        return _select_each(list(pairs.values()), tree.each)
    found = {name: _select(pairs[name], below) for name, below in tree.fields.items() if name in pairs}
    return {name: part for name, part in found.items() if part is not _NOTHING}


def _select_each(values: list[Any], tree: PathTree) -> list[Any]:
    return [part for value in values if (part := _select(value, tree)) is not _NOTHING]
