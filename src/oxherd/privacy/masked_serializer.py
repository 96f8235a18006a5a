"""Builds the serializer for the log: masks applied, secrets hidden, custom serializers of masked types left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from pydantic_core import PydanticSerializationUnexpectedValue, SchemaSerializer

from oxherd.payload.schema import (
    INFERRED,
    SECRET_TYPES,
    Node,
    children,
    is_revealed_secret,
    is_secret,
    map_children,
    serializer,
    walk,
    wire_schema,
)
from oxherd.privacy.masks import HIDDEN, MASK_KEY, Mask

# Schema types whose serializer follows the schemas within. Any other with a mask inside is hidden whole.
_TRANSPARENT: Final = frozenset(
    {
        *("custom-error", "dataclass", "dataclass-args", "dataclass-field", "default", "definition-ref", "definitions"),
        *("dict", "frozenset", "function-after", "function-before", "function-wrap", "json", "json-or-python"),
        *("lax-or-strict", "list", "model", "model-field", "model-fields", "nullable", "set", "tagged-union"),
        *("tuple", "typed-dict", "typed-dict-field", "union"),
    }
)
_PYTHON_TYPES: Final[dict[str, type | tuple[type, ...]]] = {
    "bool": bool,
    "bytes": bytes,
    "float": (float, int),
    "int": int,
    "str": str,
}

_Show = Callable[[Any], Any]


def has_masks(schema: Node) -> bool:
    """Whether the type holds a mask or a secret anywhere."""
    return any(is_secret(node) or _mask_of(node) is not None for node in walk(schema))


def masked_serializer(schema: Node, infer: _Show) -> SchemaSerializer:
    """Build the serializer of a type; `infer` converts values whose type the schema does not say."""

    def visit(node: Node) -> Node:
        show = _shown_by(node)
        if show is not None:
            return _plain(node, show)
        custom: Node | None = node.get("serialization")
        if (custom is None and node["type"] in INFERRED) or (custom is not None and custom["type"] == "any"):
            return _plain(node, infer)
        if custom is not None and _is_sensitive(node):
            # The user's serializer could write what the masks hide.
            node = {key: value for key, value in node.items() if key != "serialization"}
        copy = map_children(node, visit)
        if "computed_fields" in node:
            copy["computed_fields"] = []
        return copy

    return serializer(visit(wire_schema(schema)))


def _shown_by(node: Node) -> _Show | None:
    """What shows a schema's values as a whole, if it is masked, secret, or cannot be followed to a mask inside."""
    mask = _mask_of(node)
    if mask is not None:
        expected = SECRET_TYPES if is_revealed_secret(node) else _PYTHON_TYPES.get(node["type"], object)
        return _guarded(mask.show, expected)
    if is_revealed_secret(node):
        return _guarded(_hide, SECRET_TYPES)
    inner = node["type"] == "definition-ref" or any(_is_sensitive(part) for part in children(node, serialization=False))
    if node["type"] == "chain" and inner:
        return next((show for step in node["steps"] if (show := _shown_by(step)) is not None), _hide)
    opaque = node["type"] not in _TRANSPARENT if inner else "serialization" in node and _is_sensitive(node)
    return _hide if opaque else None


def _hide(_: Any) -> str:
    return HIDDEN


def _guarded(show: _Show, expected: Any) -> _Show:
    def guarded(value: Any) -> Any:
        if not isinstance(value, expected):
            raise PydanticSerializationUnexpectedValue("not of the masked type")
        return show(value)

    return show if expected is object else guarded


def _mask_of(node: Node) -> Mask | None:
    metadata: object = node.get("metadata")
    return cast("Node", metadata).get(MASK_KEY) if isinstance(metadata, dict) else None


def _is_sensitive(node: Node) -> bool:
    """Whether a schema holds a mask, a secret, or a reference that may lead to one."""
    return any(
        is_revealed_secret(part) or _mask_of(part) is not None or part["type"] == "definition-ref"
        for part in walk(node)
    )


def _plain(node: Node, function: _Show) -> Node:
    return {**node, "serialization": {"type": "function-plain", "function": function}}
