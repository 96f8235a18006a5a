"""TypeScript's types from JSON Schema (2020-12), as pydantic writes it. Pure.

No text of the application ends a comment or a string: strings are ASCII JSON, and comments lack what ends one.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, cast

from oxherd.telemetry.logs.printable import printable

_IDENTIFIER: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9]+")
_DEFINITIONS: Final = ("#/$defs/", "#/definitions/")
_NOTED: Final = (
    "format", "pattern", "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
    "multipleOf", "minItems", "maxItems", "uniqueItems", "default",
)  # fmt: skip
_LONGEST_NOTE: Final = 200
_SIMPLE: Final = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}
_LARGEST_INTEGER: Final = 2**53 - 1
# What the converter's own output refers to.
USED: Final = frozenset({"Tagged"})


class Type(NamedTuple):
    """A type's text; a compound one, A | B, needs parentheses within another."""

    text: str
    compound: bool = False

    @property
    def operand(self) -> str:
        """The text as a part of another type."""
        return f"({self.text})" if self.compound else self.text


UNKNOWN: Final = Type("unknown")
_NEVER: Final = Type("never")


class Converter:
    """Converts schemas that refer to the same definitions; `reserved` are names that no definition gets."""

    def __init__(self, definitions: Mapping[str, Any], reserved: Iterable[str] = ()) -> None:
        self._definitions = definitions
        self._names: dict[str, str] = {}
        taken = {*reserved, *USED}
        for key in sorted(definitions):
            self._names[key] = _unique(_type_name(key), taken)

    def declarations(self) -> Iterator[str]:
        """Each definition as an exported interface or type."""
        for key in sorted(self._definitions):
            schema, name = self._definitions[key], self._names[key]
            body = self.type(schema)
            is_interface = body.text.startswith("{\n") and not body.compound
            declared = f"export interface {name} {body.text}" if is_interface else f"export type {name} = {body.text};"
            yield f"{comment(schema)}{declared}\n"

    def type(self, schema: Any, indent: str = "") -> Type:
        """The type of what a schema allows; what it cannot express is unknown."""
        if schema is False:
            return _NEVER
        node = _mapping(schema)
        parts = [self._reference(node["$ref"])] if "$ref" in node else []
        if "const" in node or "enum" in node:
            parts.append(_union(_literal(value) for value in node.get("enum", [node.get("const")])))
        else:
            parts.append(self._typed(node, indent))
        unions = (node[key] for key in ("anyOf", "oneOf") if key in node)
        parts += [self._one_of(members, node.get("discriminator"), indent) for members in unions]
        parts += [self.type(part, indent) for part in node.get("allOf", ())]
        found = _intersection(parts)
        return _union([found, Type("null")]) if node.get("nullable") is True else found

    def _reference(self, reference: Any) -> Type:
        return Type(self._names[key]) if (key := self._key(reference)) is not None else UNKNOWN

    def _key(self, reference: Any) -> str | None:
        """The definition that a reference names."""
        for start in _DEFINITIONS:
            if isinstance(reference, str) and reference.startswith(start):
                key = reference.removeprefix(start).replace("~1", "/").replace("~0", "~")
                return key if key in self._names else None
        return None

    def _one_of(self, members: list[Any], discriminator: Any, indent: str) -> Type:
        tag = _mapping(discriminator).get("propertyName")
        return _union(self._tagged(member, tag, indent) for member in members)

    def _tagged(self, member: Any, tag: Any, indent: str) -> Type:
        """A union's member, whose tag is there even if it has a default."""
        found = self.type(member, indent)
        if not isinstance(tag, str):
            return found
        is_sent = tag in self._resolved(member).get("required", ())
        return found if is_sent else Type(f"Tagged<{found.text}, {string(tag)}>")

    def _resolved(self, schema: Any) -> dict[str, Any]:
        """The schema, or the definition that it refers to."""
        key = self._key(_mapping(schema).get("$ref"))
        return _mapping(schema if key is None else self._definitions[key])

    def _typed(self, node: dict[str, Any], indent: str) -> Type:
        given = node.get("type")
        if given is None:
            if {"properties", "additionalProperties", "patternProperties"} & node.keys():
                given = "object"
            elif {"items", "prefixItems"} & node.keys():
                given = "array"
            else:
                return UNKNOWN
        kinds = cast("list[Any]", given) if isinstance(given, list) else [given]
        return _union(self._kind(kind, node, indent) for kind in kinds)

    def _kind(self, kind: Any, node: dict[str, Any], indent: str) -> Type:
        if kind == "object":
            return self._object(node, indent)
        if kind == "array":
            return self._array(node, indent)
        return Type(_SIMPLE[kind]) if kind in _SIMPLE else UNKNOWN

    def _array(self, node: dict[str, Any], indent: str) -> Type:
        rest = node.get("items", True)
        first: list[Any] = node.get("prefixItems", [])
        least, most = node.get("minItems", 0), node.get("maxItems")
        if not first:
            if most == 0:
                return Type("[]")
            return Type(f"{self.type(rest, indent).operand}[]")
        items = [
            f"{self.type(item, indent).operand}{'' if number < least else '?'}" for number, item in enumerate(first)
        ]
        if rest is not False and (most is None or most > len(first)):
            items.append(f"...{self.type(rest, indent).operand}[]")
        return Type(f"[{', '.join(items)}]")

    def _object(self, node: dict[str, Any], indent: str) -> Type:
        inner = f"{indent}  "
        properties: dict[str, Any] = node.get("properties", {})
        required = set(node.get("required", ()))
        rest = self._other_values(node, inner)
        if not properties:
            return self._index(node, UNKNOWN if rest is None else rest, indent)
        lines: list[str] = []
        types: list[Type] = []
        for name, schema in properties.items():
            found = self.type(schema, inner)
            mark = "" if name in required else "?"
            types.append(found if name in required else _union([found, Type("undefined")]))
            lines.append(f"{comment(schema, inner)}{inner}{_property_name(name)}{mark}: {found.text};\n")
        if rest is not None:
            # An index signature holds for the named properties, too.
            lines.append(f"{inner}[key: string]: {_union([rest, *types]).text};\n")
        return Type(f"{{\n{''.join(lines)}{indent}}}")

    def _other_values(self, node: dict[str, Any], indent: str) -> Type | None:
        """The type of values under other names; None if there are none that the schema speaks of."""
        values = list(node.get("patternProperties", {}).values())
        more = node.get("additionalProperties")
        if more not in (None, False):
            values.append(more)
        return _union(self.type(value, indent) for value in values) if values else None

    def _index(self, node: dict[str, Any], values: Type, indent: str) -> Type:
        if node.get("additionalProperties") is False and "patternProperties" not in node:
            return Type("{ [key: string]: never }")
        names = node.get("propertyNames")
        if {"enum", "const"} & self._resolved(names).keys():
            return Type(f"{{ [Key in {self.type(names, indent).text}]?: {values.text} }}")
        return Type(f"{{ [key: string]: {values.text} }}")


def string(text: str) -> str:
    """A string literal, in ASCII."""
    return json.dumps(text).replace("\x7f", "\\u007f")


def comment(schema: Any, indent: str = "") -> str:
    """The documentation comment of a schema, with its description and what a type cannot say; "" for none."""
    node = _mapping(schema)
    description = node.get("description")
    lines = description.splitlines() if isinstance(description, str) else []
    for key in _NOTED:
        if key in node and not (key == "default" and node.get("format") == "password"):
            note = f"@{key} {json.dumps(node[key])}"
            lines += [note] if len(note) <= _LONGEST_NOTE else []
    if node.get("deprecated") is True:
        lines.append("@deprecated")
    return comment_of(lines, indent)


def comment_of(lines: Iterable[str], indent: str = "") -> str:
    """Lines as a documentation comment that nothing in them ends."""
    plain = [printable(line).replace("*/", "*\\/").rstrip() for line in lines]
    if not plain:
        return ""
    if len(plain) == 1:
        return f"{indent}/** {plain[0]} */\n"
    return f"{indent}/**\n{''.join(f'{indent} * {line}'.rstrip() + chr(10) for line in plain)}{indent} */\n"


def _mapping(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _property_name(name: str) -> str:
    return name if _IDENTIFIER.fullmatch(name) else string(name)


def _literal(value: Any) -> Type:
    if isinstance(value, str):
        return Type(string(value))
    if value is None or isinstance(value, bool):
        return Type(json.dumps(value))
    if isinstance(value, int):
        return Type(str(value) if abs(value) <= _LARGEST_INTEGER else "number")
    if isinstance(value, float):
        return Type(json.dumps(value) if math.isfinite(value) else "number")
    if isinstance(value, list):
        return Type(f"[{', '.join(_literal(item).text for item in cast('list[Any]', value))}]")
    if isinstance(value, dict):
        fields = (f"{string(key)}: {_literal(item).text}" for key, item in cast("dict[str, Any]", value).items())
        return Type(f"{{ {'; '.join(fields)} }}")
    return UNKNOWN


def _union(types: Iterable[Type]) -> Type:
    found = [each for each in dict.fromkeys(types) if each != _NEVER]
    if UNKNOWN in found:
        return UNKNOWN
    if len(found) < 2:
        return found[0] if found else _NEVER
    texts = dict.fromkeys(text for each in found for text in ([each.text] if each.compound else [each.operand]))
    return Type(" | ".join(texts), compound=True)


def _intersection(types: Iterable[Type]) -> Type:
    found = [each for each in dict.fromkeys(types) if each != UNKNOWN]
    if len(found) < 2:
        return found[0] if found else UNKNOWN
    return Type(" & ".join(each.operand for each in found), compound=True)


def _type_name(key: str) -> str:
    words = [word for word in _NOT_IN_NAMES.split(key) if word]
    name = "".join(word[0].upper() + word[1:] for word in words)
    return name if name and not name[0].isdigit() else f"Type{name}"


def _unique(name: str, taken: set[str]) -> str:
    """The name, or with the first number that makes it unique; it is taken then."""
    number, unique = 1, name
    while unique in taken:
        number += 1
        unique = f"{name}{number}"
    taken.add(unique)
    return unique
