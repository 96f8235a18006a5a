"""Ways in which a handler may put a payload into a text."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import quote, quote_plus

from pydantic_core import from_json

from oxherd.testing.canaries import strings


def renderings(payload: Any, raw: bytes) -> list[str]:
    """The payload as `str` and `repr`, its values alone, as JSON, base64 and in a URL."""
    values = list(strings(from_json(raw)))
    joined = ", ".join(values)
    return [
        f"{payload} is refused",
        f"{payload!r} is refused",
        f"refused: {joined}",
        f"refused: {raw.decode()}",
        f"refused: {base64.b64encode(raw).decode()}",
        f"refused: {' '.join(base64.urlsafe_b64encode(value.encode()).decode() for value in values)}",
        f"GET /orders?body={quote(raw.decode())}&values={quote_plus(joined)}",
    ]
