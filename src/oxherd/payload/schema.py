"""The two ways a payload's type is written: for the queue, secrets intact; for the log, secrets and masks hidden.

pydantic hides `SecretStr` in JSON and knows nothing of our masks, so both serializers are built from a rewritten copy
of the type's core schema. Validation uses the type's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import copy as copy_of
from functools import cache
from typing import Any, Final, cast

from pydantic import Secret, SecretBytes, SecretStr, TypeAdapter
from pydantic_core import PydanticSerializationUnexpectedValue, SchemaSerializer

from oxherd.privacy.masks import HIDDEN, MASK_KEY, Mask

Node = dict[str, Any]

# Values below these keys are the user's own, never schemas.
_OPAQUE: Final = frozenset({"cls", "config", "custom_error_context", "default", "expected", "function", "members"})
_SKIPPED: Final = _OPAQUE | {"metadata", "serialization"}

# Types that pydantic writes by looking at the value: what they hold is not in the schema.
INFERRED: Final = frozenset({"any", "call", "function-plain", "is-instance"})

# Types whose serializer follows the schema of what they hold. Any other with a mask inside is hidden whole.
_FAITHFUL: Final = frozenset(
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
_SECRETS: Final = (SecretStr, SecretBytes, Secret)


def _parts(value: object) -> Iterator[Node]:
    """The schemas found in a value of a schema: itself, or those in its lists and mappings."""
    if isinstance(value, dict):
        node = cast("Node", value)
        if isinstance(node.get("type"), str):
            yield node
        else:
            for part in node.values():
                yield from _parts(part)
    elif isinstance(value, list | tuple):
        for part in cast("list[object]", value):
            yield from _parts(part)


def children(node: Node, *, serialization: bool = True) -> Iterator[Node]:
    """The schemas directly within a schema; with `serialization` those of its serializer, too."""
    for key, value in node.items():
        if key not in _SKIPPED:
            yield from _parts(value)
    if serialization:
        for key in ("schema", "return_schema"):
            yield from _parts(node.get("serialization", {}).get(key))


def _nodes(node: Node) -> Iterator[Node]:
    yield node
    for child in children(node):
        yield from _nodes(child)


def _mapped(value: Any, visit: Callable[[Node], Node]) -> Any:
    if isinstance(value, dict):
        node = cast("Node", value)
        if isinstance(node.get("type"), str):
            return visit(node)
        return {key: _mapped(part, visit) for key, part in node.items()}
    if isinstance(value, list | tuple):
        parts = [_mapped(part, visit) for part in cast("list[object]", value)]
        return parts if isinstance(value, list) else tuple(parts)
    return value


def _with_children(node: Node, visit: Callable[[Node], Node]) -> Node:
    copy = {key: value if key in _SKIPPED else _mapped(value, visit) for key, value in node.items()}
    if "serialization" in node:
        nested = {
            key: _mapped(value, visit) if key in ("schema", "return_schema") else value
            for key, value in node["serialization"].items()
        }
        copy["serialization"] = nested
    return copy


def core_schema_of(adapter: TypeAdapter[Any]) -> Node:
    """The adapter's schema, built now if the type has put that off (`defer_build`)."""
    if not adapter.pydantic_complete:
        adapter.rebuild(force=True)
    return cast("Node", adapter.core_schema)


# Not at import, which would take a tenth longer.
@cache
def _secret_serializers() -> frozenset[Any]:
    schemas = (core_schema_of(TypeAdapter(tp)) for tp in (SecretStr, SecretBytes, Secret[int]))
    marks = (node["serialization"]["function"] for schema in schemas for node in _nodes(schema) if _serializes(node))
    return frozenset(marks)


def _serializes(node: Node) -> bool:
    return "function" in node.get("serialization", {})


def _is_secret(node: Node) -> bool:
    return node["type"] == "json-or-python" and node.get("serialization", {}).get("function") in _secret_serializers()


def _mask_of(node: Node) -> Mask | None:
    metadata: object = node.get("metadata")
    return cast("Node", metadata).get(MASK_KEY) if isinstance(metadata, dict) else None


def has_masks(schema: Node) -> bool:
    """Whether the type holds a mask or a secret anywhere."""
    return any(_is_secret(node) or _mask_of(node) is not None for node in _nodes(schema))


def declared_names(schema: Node) -> frozenset[str]:
    """Every field name and alias of the type: text that is the programmer's, not a payload's."""
    names: set[str] = set()
    for node in _nodes(schema):
        fields = node.get("fields")
        if isinstance(fields, dict):
            names.update(cast("dict[str, object]", fields))
        if isinstance(node.get("name"), str):
            names.add(node["name"])
        for key in ("validation_alias", "serialization_alias"):
            names.update(_strings(node.get(key)))
    return frozenset(names)


def _strings(alias: object) -> Iterator[str]:
    if isinstance(alias, str):
        yield alias
    elif isinstance(alias, list):
        for part in cast("list[object]", alias):
            yield from _strings(part)


def serializer(schema: Node) -> SchemaSerializer:
    """Build a serializer that follows this schema throughout, nested models included."""
    # A new serializer writes a nested model by the model's own, not by its rewritten schema; a copy does not.
    return copy_of(SchemaSerializer(schema, _constants({})))  # pyright: ignore[reportArgumentType]  # plain dicts


def _constants(config: Mapping[str, Any]) -> Node:
    # pydantic's default writes NaN as null, which the reader cannot tell from None.
    return {"ser_json_inf_nan": "constants", **config}


# --- for the queue


def _reveal(value: Any) -> Any:
    if not isinstance(value, _SECRETS):
        # Tells a union to try its next member.
        raise PydanticSerializationUnexpectedValue("not a secret")
    return cast("Any", value).get_secret_value()


def wire_schema(schema: Node) -> Node:
    """The schema for the queue: secrets intact, every field under a name that validation reads again."""
    return _wire(schema, {})


def _wire(node: Node, config: Mapping[str, Any]) -> Node:
    config = node.get("config") or config
    copy = _with_children(node, lambda child: _wire(child, config))
    if "config" in node:
        copy["config"] = _constants(node["config"])
    if _is_secret(node):
        copy["serialization"] = {
            "type": "function-plain",
            "function": _reveal,
            "return_schema": copy["json_schema"]["schema"],
            "when_used": node["serialization"].get("when_used", "always"),
        }
    fields = copy.get("fields")
    if isinstance(fields, dict):
        copy["fields"] = {name: _aliased(name, field, config) for name, field in cast("Node", fields).items()}
    elif node["type"] == "dataclass-field":
        copy = _aliased(node["name"], copy, config)
    return copy


def _aliased(name: str, field: Node, config: Mapping[str, Any]) -> Node:
    alias: Any = field.get("validation_alias")
    accepted: list[str] = []
    if alias is not None and config.get("validate_by_alias", True):
        accepted = _flat(alias)
    if alias is None or config.get("validate_by_name") or config.get("populate_by_name"):
        accepted.append(name)
    if not accepted or field.get("serialization_alias", name) in accepted:
        return field
    return {**field, "serialization_alias": accepted[0]}


def _flat(alias: str | list[Any]) -> list[str]:
    """The aliases that are one key, not a path into nested ones."""
    if isinstance(alias, str):
        return [alias]
    paths: list[list[Any]] = alias if isinstance(alias[0], list) else [alias]
    return [path[0] for path in paths if len(path) == 1]


# --- for the log


def masked_serializer(schema: Node, infer: Callable[[Any], Any]) -> SchemaSerializer:
    """The serializer for the log: masks applied, secrets as `***`, values of no declared type through `infer`."""

    def visit(node: Node) -> Node:
        shown = _shown_by(node)
        if shown is not None:
            return _plain(node, shown)
        own: Node | None = node.get("serialization")
        if (own is None and node["type"] in INFERRED) or (own is not None and own["type"] == "any"):
            return _plain(node, infer)
        if own is not None and _sensitive(node):
            # The user's own serializer could write what the masks hide.
            node = {key: value for key, value in node.items() if key != "serialization"}
        copy = _with_children(node, visit)
        if "computed_fields" in node:
            copy["computed_fields"] = []
        if "config" in node:
            copy["config"] = _constants(node["config"])
        return copy

    return serializer(_mapped(_wire(schema, {}), visit))


def _shown_by(node: Node) -> Callable[[Any], Any] | None:
    mask = _mask_of(node)
    if mask is not None:
        return _guarded(mask.show, _SECRETS if _is_revealed(node) else _PYTHON_TYPES.get(node["type"], object))
    if _is_revealed(node):
        return _guarded(lambda _: HIDDEN, _SECRETS)
    held = node["type"] == "definition-ref" or any(_sensitive(part) for part in children(node, serialization=False))
    if node["type"] == "chain" and held:
        marks = [found for step in node["steps"] if (found := _shown_by(step)) is not None]
        return marks[0] if marks else lambda _: HIDDEN
    if (held and node["type"] not in _FAITHFUL) or (not held and _sensitive(node) and "serialization" in node):
        return lambda _: HIDDEN
    return None


def _is_revealed(node: Node) -> bool:
    return node.get("serialization", {}).get("function") is _reveal


def _guarded(show: Callable[[Any], Any], expected: Any) -> Callable[[Any], Any]:
    def guarded(value: Any) -> Any:
        if not isinstance(value, expected):
            raise PydanticSerializationUnexpectedValue("not of the masked type")
        return show(value)

    return show if expected is object else guarded


def _sensitive(node: Node) -> bool:
    """Whether a mask, a secret, or a reference that may lead to one is in a schema."""
    return any(
        _is_revealed(part) or _mask_of(part) is not None or part["type"] == "definition-ref" for part in _nodes(node)
    )


def _plain(node: Node, function: Callable[[Any], Any]) -> Node:
    return {**node, "serialization": {"type": "function-plain", "function": function}}
