"""Walks and rewrites a payload type's core schema, and builds the serializer for the queue.

pydantic writes `SecretStr` as asterisks, so serializers are built from a rewritten copy of the core schema. Validation
uses the original.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from copy import copy as copy_of
from functools import cache
from typing import Any, Final, cast

from pydantic import Secret, SecretBytes, SecretStr, TypeAdapter
from pydantic_core import PydanticSerializationUnexpectedValue, SchemaSerializer

Node = dict[str, Any]

SECRET_TYPES: Final = (SecretStr, SecretBytes, Secret)
# Schema types whose values pydantic serializes by their runtime type: the schema does not say what they hold.
INFERRED: Final = frozenset({"any", "call", "function-plain", "is-instance"})

# Values under these keys are the user's own, never schemas.
_OPAQUE: Final = frozenset({"cls", "config", "custom_error_context", "default", "expected", "function", "members"})
_SKIPPED: Final = _OPAQUE | {"metadata", "serialization"}
_SERIALIZER_SCHEMAS: Final = ("schema", "return_schema")
_CONFIGURED: Final = frozenset({"model", "dataclass"})
_BYTES: Final[dict[str, Callable[[bytes], str]]] = {
    "utf8": bytes.decode,
    "hex": bytes.hex,
    "base64": lambda raw: urlsafe_b64encode(raw).decode(),
}


def _topmost(value: object) -> Iterator[Node]:
    """The outermost schemas of a schema's entry: itself, or those in its lists and mappings."""
    if isinstance(value, dict):
        node = cast("Node", value)
        if isinstance(node.get("type"), str):
            yield node
            return
        value = list(node.values())
    if isinstance(value, list | tuple):
        for part in cast("list[object]", value):
            yield from _topmost(part)


def children(node: Node, *, serialization: bool = True) -> Iterator[Node]:
    """The schemas directly within a schema; with `serialization`, its serializer's too."""
    for key, value in node.items():
        if key not in _SKIPPED:
            yield from _topmost(value)
    if serialization:
        for key in _SERIALIZER_SCHEMAS:
            yield from _topmost(node.get("serialization", {}).get(key))


def walk(node: Node) -> Iterator[Node]:
    """A schema and all schemas within it."""
    yield node
    for child in children(node):
        yield from walk(child)


def _map(value: Any, visit: Callable[[Node], Node]) -> Any:
    if isinstance(value, dict):
        node = cast("Node", value)
        if isinstance(node.get("type"), str):
            return visit(node)
        return {key: _map(part, visit) for key, part in node.items()}
    if isinstance(value, list | tuple):
        parts = [_map(part, visit) for part in cast("list[object]", value)]
        return parts if isinstance(value, list) else tuple(parts)
    return value


def map_children(node: Node, visit: Callable[[Node], Node]) -> Node:
    """A copy of a schema, with `visit` applied to the schemas directly within it."""
    copy = {key: value if key in _SKIPPED else _map(value, visit) for key, value in node.items()}
    if "serialization" in node:
        copy["serialization"] = {
            key: _map(value, visit) if key in _SERIALIZER_SCHEMAS else value
            for key, value in node["serialization"].items()
        }
    if "config" in node:
        copy["config"] = _as_read(node["config"])
    return copy


def _as_read(config: Mapping[str, Any]) -> Node:
    """A type's settings, with those of its JSON as validation reads it."""
    return {
        **config,
        "ser_json_bytes": config.get("val_json_bytes", "utf8"),
        "ser_json_temporal": "iso8601",
        # NaN as null, the default, is read back as None.
        "ser_json_inf_nan": "strings" if config.get("ser_json_inf_nan") == "strings" else "constants",
    }


def core_schema_of(adapter: TypeAdapter[Any]) -> Node:
    """The adapter's schema, built now if the type defers it (`defer_build`)."""
    if not adapter.pydantic_complete:
        adapter.rebuild(force=True)
    return cast("Node", adapter.core_schema)


@cache  # not at import, which would take a tenth longer
def _secret_serializers() -> frozenset[Any]:
    schemas = (core_schema_of(TypeAdapter(tp)) for tp in (SecretStr, SecretBytes, Secret[int]))
    functions = (node.get("serialization", {}).get("function") for schema in schemas for node in walk(schema))
    return frozenset(function for function in functions if function is not None)


def is_secret(node: Node) -> bool:
    """Whether a schema is `SecretStr`'s, `SecretBytes`'s or `Secret`'s."""
    return node["type"] == "json-or-python" and node.get("serialization", {}).get("function") in _secret_serializers()


def is_revealed_secret(node: Node) -> bool:
    """Whether a schema of `wire_schema` is a secret's."""
    return node.get("serialization", {}).get("function") is _reveal


def declared_names(schema: Node) -> frozenset[str]:
    """Every field name and alias of the type: the programmer's text, not a payload's."""
    names: set[str] = set()
    for node in walk(schema):
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
    """Build a serializer that follows a rewritten schema, nested models included."""
    # A new serializer would use nested models' own prebuilt serializers; a copy does not.
    return copy_of(SchemaSerializer(schema, _as_read({})))  # pyright: ignore[reportArgumentType]  # plain dicts


def wire_schema(node: Node, config: Node | None = None, written: Node | None = None) -> Node:
    """The schema for the queue: secrets in plain text, each field under a name and in a form that validation accepts.

    `config` are the settings around, as the validator takes them; `written` those that the serializer takes.
    """
    own: Node = node.get("config") or config or {}
    # A serializer does not heed the settings of a typed dict.
    by_serializer: Node = (own if node["type"] in _CONFIGURED else written) or {}
    copy = map_children(node, lambda child: wire_schema(child, own, by_serializer))
    if node["type"] == "bytes" and "serialization" not in node:
        form = own.get("val_json_bytes", "utf8")
        if form != by_serializer.get("val_json_bytes", "utf8"):
            copy["serialization"] = {"type": "function-plain", "function": _BYTES[form], "when_used": "json"}
    if is_secret(node):
        copy["serialization"] = {
            "type": "function-plain",
            "function": _reveal,
            "return_schema": copy["json_schema"]["schema"],
            "when_used": node["serialization"].get("when_used", "always"),
        }
    fields = copy.get("fields")
    if isinstance(fields, dict):
        copy["fields"] = {name: _aliased(name, field, own) for name, field in cast("Node", fields).items()}
    elif node["type"] == "dataclass-field":
        copy = _aliased(node["name"], copy, own)
    return copy


def _reveal(value: Any) -> Any:
    if not isinstance(value, SECRET_TYPES):
        # Makes a union try its next member.
        raise PydanticSerializationUnexpectedValue("not a secret")
    return cast("Any", value).get_secret_value()


def _aliased(name: str, field: Node, config: Mapping[str, Any]) -> Node:
    """A field's schema, serialized under a name that its validation accepts."""
    accepted, _ = input_keys(name, field, config)
    if not accepted or field.get("serialization_alias", name) in accepted:
        return field
    return {**field, "serialization_alias": accepted[0]}


def input_keys(name: str, field: Node, config: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The keys under which validation reads a field, and those that it reads a part of."""
    alias: Any = field.get("validation_alias")
    whole: list[str] = []
    part: list[str] = []
    if alias is not None and config.get("validate_by_alias", True):
        path_or_paths: list[Any] = [alias] if isinstance(alias, str) else alias
        paths: list[list[Any]] = path_or_paths if isinstance(path_or_paths[0], list) else [path_or_paths]
        for path in paths:
            (whole if len(path) == 1 else part).append(path[0])
    if alias is None or config.get("validate_by_name") or config.get("populate_by_name"):
        whole.append(name)
    return whole, part
