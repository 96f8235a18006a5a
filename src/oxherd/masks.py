"""What a field of a payload shows in the log: `Annotated[str, Mask("email")]`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from oxherd.errors import DeclarationError

HIDDEN: Final = "***"
MASK_KEY: Final = "oxherd.mask"


def _hidden(value: object) -> str:
    del value
    return HIDDEN


def _email(value: object) -> str:
    if not isinstance(value, str):
        return HIDDEN
    local, _, domain = value.partition("@")
    if not local[:1].isalnum() or not domain or "@" in domain:
        return HIDDEN
    return f"{local[0]}***@***"


# A kind makes, from the mask's options, the function that writes a value as it may be shown.
_KINDS: Final[dict[str, Callable[[object], object]]] = {"hidden": _hidden, "email": _email}


class Mask:
    """Says in an annotation how the log shows a field: `Mask()` as `***`, `Mask("email")` as `a***@***`.

    Raises `DeclarationError` for a kind that is not known.
    """

    __slots__ = ("kind", "show")

    kind: str
    show: Callable[[object], object]

    def __init__(self, kind: str = "hidden") -> None:
        show = _KINDS.get(kind)
        if show is None:
            known = ", ".join(repr(name) for name in sorted(_KINDS))
            raise DeclarationError(f"Mask({kind!r}) is not a kind of mask: use one of {known}.")
        self.kind = kind
        self.show = show

    def __repr__(self) -> str:
        return "Mask()" if self.kind == "hidden" else f"Mask({self.kind!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mask) and self.kind == other.kind

    def __hash__(self) -> int:
        return hash((Mask, self.kind))

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Mark the schema; emitting and reading a payload stay as they are without the mask."""
        schema = handler(source)
        if "ref" in schema or schema["type"] == "definition-ref":
            # A schema with a reference is shared: a mark on it would mask the type's other uses too.
            schema = core_schema.chain_schema([schema])
        # A copy, since pydantic may hand out the same schema twice.
        return {**schema, "metadata": {**schema.get("metadata", {}), MASK_KEY: self}}  # pyright: ignore[reportReturnType]  # a copy of a TypedDict union
