"""Ways in which a handler may put a payload into a text."""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode
from pprint import pformat
from textwrap import fill, indent
from typing import Any
from urllib.parse import quote, quote_plus

from pydantic_core import from_json

from oxherd.testing.canaries import strings


def renderings(payload: Any, raw: bytes) -> list[str]:
    """The payload as `str` and `repr`, its values alone, as JSON, base64, in a URL, and in several lines."""
    values = list(strings(from_json(raw)))
    joined = ", ".join(values)
    return [
        f"{payload} is refused",
        f"{payload!r} is refused",
        f"refused: {joined}",
        f"refused: {raw.decode()}",
        f"refused: {b64encode(raw).decode()}",
        f"refused: {' '.join(urlsafe_b64encode(value.encode()).decode() for value in values)}",
        f"refused:\n{pformat(from_json(raw), width=30)}",
        f"refused:\n{indent(fill(b64encode(raw).decode(), 40), '    ')}",
        f"GET /orders?body={quote(raw.decode())}&values={quote_plus(joined)}",
    ]
