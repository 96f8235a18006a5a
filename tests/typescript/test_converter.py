"""JSON Schema becomes TypeScript, and no text of the application ends a comment or a string of it."""

from __future__ import annotations

from typing import Any

import pytest

from oxherd.typescript.converter import Converter, comment

STRING = {"type": "string"}
NUMBER = {"type": "integer"}

CASES: list[tuple[Any, str]] = [
    (True, "unknown"),
    (False, "never"),
    ({}, "unknown"),
    ({"description": "Anything."}, "unknown"),
    (STRING, "string"),
    ({"type": "number"}, "number"),
    ({"type": "boolean"}, "boolean"),
    ({"type": "null"}, "null"),
    ({"type": ["string", "null"]}, "string | null"),
    ({"type": "string", "nullable": True}, "string | null"),
    ({"type": "string", "format": "date-time"}, "string"),
    ({"anyOf": [STRING, NUMBER, STRING]}, "string | number"),
    ({"anyOf": [NUMBER, {"type": "number"}]}, "number"),
    ({"anyOf": [STRING, {}]}, "unknown"),
    ({"anyOf": [False, STRING]}, "string"),
    ({"oneOf": [{"const": "a"}, {"enum": [1, -2, 1.5, True, None]}]}, '"a" | 1 | -2 | 1.5 | true | null'),
    ({"const": None}, "null"),
    ({"const": [1, "a"]}, '[1, "a"]'),
    ({"const": {"a": 1}}, '{ "a": 1 }'),
    ({"enum": [2**60, 1.0e400]}, "number"),
    ({"enum": []}, "never"),
    ({"type": "array", "items": STRING}, "string[]"),
    ({"type": "array", "items": {"anyOf": [STRING, NUMBER]}}, "(string | number)[]"),
    ({"type": "array"}, "unknown[]"),
    ({"items": STRING}, "string[]"),
    ({"type": "array", "maxItems": 0, "minItems": 0}, "[]"),
    ({"type": "array", "prefixItems": [STRING, NUMBER], "minItems": 2, "maxItems": 2}, "[string, number]"),
    ({"type": "array", "prefixItems": [STRING, NUMBER], "minItems": 1, "items": False}, "[string, number?]"),
    ({"type": "array", "prefixItems": [STRING], "minItems": 1, "items": NUMBER}, "[string, ...number[]]"),
    ({"type": "object"}, "{ [key: string]: unknown }"),
    ({"type": "object", "additionalProperties": NUMBER}, "{ [key: string]: number }"),
    ({"type": "object", "additionalProperties": False}, "{ [key: string]: never }"),
    (
        {"type": "object", "patternProperties": {"^a": STRING}, "additionalProperties": False},
        "{ [key: string]: string }",
    ),
    (
        {"type": "object", "propertyNames": {"enum": ["a", "b"]}, "additionalProperties": NUMBER},
        '{ [Key in "a" | "b"]?: number }',
    ),
    (
        {"type": "object", "propertyNames": {"$ref": "#/$defs/Color"}, "additionalProperties": NUMBER},
        "{ [Key in Color]?: number }",
    ),
    ({"properties": {"a": STRING, "b-c": NUMBER}, "required": ["a"]}, '{\n  a: string;\n  "b-c"?: number;\n}'),
    (
        {"properties": {"a": STRING}, "additionalProperties": NUMBER},
        "{\n  a?: string;\n  [key: string]: number | string | undefined;\n}",
    ),
    ({"properties": {"a": {"properties": {"b": STRING}}}}, "{\n  a?: {\n    b?: string;\n  };\n}"),
    ({"$ref": "#/$defs/Cat"}, "Cat"),
    ({"$ref": "#/definitions/Cat"}, "Cat"),
    ({"$ref": "#/$defs/a~1b"}, "AB"),
    ({"$ref": "#/$defs/None"}, "unknown"),
    ({"$ref": "https://example.com/schema"}, "unknown"),
    ({"allOf": [{"$ref": "#/$defs/Cat"}], "description": "One."}, "Cat"),
    ({"allOf": [{"$ref": "#/$defs/Cat"}, {"anyOf": [STRING, NUMBER]}]}, "Cat & (string | number)"),
    ({"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, "{ [key: string]: unknown }"),
    (
        {
            "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}],
            "discriminator": {"propertyName": "kind", "mapping": {}},
        },
        'Tagged<Cat, "kind"> | Dog',
    ),
    ({"type": "elsewhere"}, "unknown"),
]
KIND = {"properties": {"kind": {"const": "cat"}}}
DEFINITIONS = {
    "Cat": KIND,
    "Dog": {**KIND, "required": ["kind"]},
    "Color": {"enum": ["red", "blue"]},
    "a/b": STRING,
}


@pytest.mark.parametrize(("schema", "expected"), CASES)
def test_a_schema_becomes_the_type_of_what_it_allows(schema: Any, expected: str) -> None:
    assert Converter(DEFINITIONS).type(schema).text == expected


def test_definitions_may_refer_to_themselves() -> None:
    tree = {"type": "object", "properties": {"left": {"$ref": "#/$defs/Tree"}}}
    json = {"anyOf": [STRING, {"type": "object", "additionalProperties": {"$ref": "#/$defs/Json"}}]}
    assert list(Converter({"Tree": tree, "Json": json}).declarations()) == [
        "export type Json = string | { [key: string]: Json };\n",
        "export interface Tree {\n  left?: Tree;\n}\n",
    ]


def test_each_name_is_an_identifier_and_given_once() -> None:
    names = ["Order", "order", "app__Order-Input", "AppOrderInput", "7", "日本", "", "Queue", "Tagged"]
    declared = [text.split()[2] for text in Converter(dict.fromkeys(names, STRING), {"Queue"}).declarations()]
    assert sorted(declared) == [
        "AppOrderInput", "AppOrderInput2", "Order", "Order2", "Queue2", "Tagged2", "Type", "Type2", "Type7",
    ]  # fmt: skip


HOSTILE = ["*/ alert(1) /*", "a\n */\nb", "*" * 3 + "/", "\u2028*/", "\x1b[31m", 'a"b\\', "`${x}`", "\ud800", "é\x7f"]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_leaves_its_comment_or_its_string(text: str) -> None:
    schema = {
        "description": text,
        "properties": {text: {"enum": [text], "description": text, "pattern": text, "default": text}},
    }
    written = f"{comment(schema)}{Converter({}).type(schema).text}"
    outside = _outside_comments(written)
    assert outside.isascii()
    assert written.replace("\n", "").isprintable()
    assert outside.count("/") == 2 * text.count("/")
    assert _without_strings(outside).split() == ["{", "?:", ";", "}"]


def _outside_comments(text: str) -> str:
    outside, _, rest = text.partition("/**")
    while rest:
        _, _, after = rest.partition("*/")
        # The next comment, outside of strings: these begin only where a line does.
        before, found, rest = after.partition("\n  /**")
        outside += before if found else after
    return outside


def _without_strings(text: str) -> str:
    kept, inside, escaped = "", False, False
    for character in text:
        if escaped:
            escaped = False
        elif inside and character == "\\":
            escaped = True
        elif character == '"':
            inside = not inside
        elif not inside:
            kept += character
    return kept
