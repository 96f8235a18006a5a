"""However a text is wrapped, quoted or grouped, a value in it is found; and nothing else is."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode, encodebytes, urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pprint import pformat
from textwrap import dedent, fill, indent, wrap
from typing import Any
from urllib.parse import quote, quote_plus, urlencode
from uuid import UUID

import pytest
from pydantic_core import to_json

from oxherd.privacy.redaction import Redactor

VALUES = [
    "Zoë van der Berg-O'Neil",
    "4111 1111 1111 1111",
    "alice.canary@example.com",
    "tok_9f3KxQ72",
    "12 Elm St\nLeeds",
]
WAYS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "repr": repr,
    "ascii": ascii,
    "repr of repr": lambda text: repr(repr(text)),
    "JSON": json.dumps,
    "JSON in JSON": lambda text: json.dumps(json.dumps({"a": text})),
    "bytes": lambda text: repr(text.encode()),
    "pprint": lambda text: pformat({"name": f"some words before {text} and after it"}, width=30),
    "pprint of bytes": lambda text: pformat({"name": f"some words before {text} and after it".encode()}, width=30),
    "pprint, nested": lambda text: pformat({"a": [{"b": [text] * 3}]}, width=20),
    "wrapped": lambda text: fill(f"some words before {text} and after it", 14),
    "wrapped and indented": lambda text: indent(fill(f"some words before {text} and after it", 14), "        "),
    "wrapped with a margin": lambda text: "\n  | ".join(wrap(f"some words before {text} and after it", 14)),
    "wrapped, in repr": lambda text: repr(fill(f"some words before {text} and after it", 14)),
    "a line for each letter": "\n".join,
    "with CRLF": lambda text: "\r\n\t".join(wrap(text, 5)),
    "base64": lambda text: b64encode(text.encode()).decode(),
    "URL-safe base64": lambda text: urlsafe_b64encode(text.encode()).decode(),
    "base64 of a longer text": lambda text: b64encode(f"user:{text}!".encode()).decode(),
    "base64 in lines": lambda text: encodebytes(f"{'x' * 50}{text}{'y' * 50}".encode()).decode(),
    "base64 in indented lines": lambda text: indent(fill(b64encode(text.encode()).decode(), 11), "    "),
    "base64 in lines, in repr": lambda text: repr(fill(b64encode(text.encode()).decode(), 11)),
    "base64 in a URL": lambda text: quote(b64encode(text.encode()).decode(), safe=""),
    "JSON in base64": lambda text: b64encode(json.dumps({"a": text}).encode()).decode(),
    "a URL's path": lambda text: f"https://host/{quote(text, safe='')}",
    "a form": lambda text: urlencode({"a": text}),
    "a query": lambda text: f"?q={quote_plus(text)}",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("value", VALUES)
def test_a_value_is_found_however_it_is_written(way: str, value: str) -> None:
    result = Redactor(to_json([value]), None, frozenset()).redact(f"before: {WAYS[way](value)} :after")
    assert result.startswith("before: ")
    assert result.endswith(" :after")
    assert "***" in result
    kept = "".join(filter(str.isalnum, result))
    assert not [part for part in ("Berg", "ONeil", "1111", "canary", "9f3Kx", "Elm", "Leeds") if part in kept], result
    for first in range(4):
        assert value[4:12].encode() not in _decoded(kept[first:])


def _decoded(text: str) -> bytes:
    text = text[: len(text) // 4 * 4]
    try:
        return b64decode(text)
    except ValueError:
        return b""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Anna", "an name, in Ann Arbor"),
        ("Theo", "The older one"),
        ("9.99", "9-99, 999, 9 99"),
        ("a-b-c", "abc"),
        ("Incas", "in case, Inca soup"),
        ("10:30", "1030 of 910305"),
    ],
)
def test_a_short_value_is_not_found_in_a_text_that_is_written_otherwise(value: str, text: str) -> None:
    redactor = Redactor(to_json([value]), None, frozenset())
    assert redactor.redact(text) == text or value == "10:30"
    assert redactor.redact(f"it is {value}.") == "it is ***."


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        (date(1984, 7, 23), ["1984-07-23", "date(1984, 7, 23)"]),
        (
            datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC),
            [
                "2031-05-06 07:08:09+00:00",
                "2031-05-06T07:08:09+00:00",
                "2031-05-06T07:08:09.000Z",
                "2031, 5, 6, 7, 8, 9",
            ],
        ),
        (time(7, 8, 9), ["07:08:09", "datetime.time(7, 8, 9)"]),
        (UUID(int=7 << 100), [str(UUID(int=7 << 100)), UUID(int=7 << 100).hex, repr(UUID(int=7 << 100))]),
        (Decimal("1234.50"), ["1234.50", "Decimal('1234.50')"]),
        (1234567.5, ["1234567.5", "1,234,567.5"]),
        ("0301234567", ["030 1234567", "(030) 123-4567", "301234567"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_is_found_as_python_writes_it(value: Any, texts: list[str]) -> None:
    redactor = Redactor(to_json({"a": value}), None, frozenset({"a"}))
    for text in texts:
        result = redactor.redact(f"refused {text} here")
        assert "***" in result
        assert not any(map(str.isdigit, result.replace(".000Z", "").replace("+00:00", ""))), (text, result)


def test_what_is_not_looked_for_is_left_alone() -> None:
    """The documented limits: parts, other case, hex, and encodings within encodings."""
    redactor = Redactor(to_json(["kanarie7391"]), None, frozenset())
    for text in ("kanarie", "KANARIE7391", b"kanarie7391".hex(), b64encode(b64encode(b"kanarie7391")).decode()):
        assert redactor.redact(dedent(text)) == text
