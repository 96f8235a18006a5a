"""Takes what a log withholds out of texts that may repeat it: error messages, reasons stored in Redis.

Withheld is every string of four characters or more, and every number of six digits or more, of the payload that the
shown part of it does not show; also where it appears base64-, URL- or JSON-encoded, or as `repr` writes it.
"""

from __future__ import annotations

import json
import re
import traceback
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, quote_plus

from pydantic_core import from_json

HIDDEN: Final = "***"
UNREADABLE: Final = "<withheld: the payload could not be read>"

_SHORTEST: Final = 4
_SHORTEST_NUMBER: Final = 6
_SHORTEST_INNER_BASE64: Final = 5
_LONGEST_MESSAGE: Final = 2_000
_MOST_FRAMES: Final = 20
# Frames that say nothing of the user's code.
_OWN_FRAMES: Final = ("oxherd/worker/running.py", "oxherd/worker/executors.py", "concurrent/futures/thread.py")
_DIGITS: Final = re.compile(r"\d")


class Scrubber:
    """Replaces by `***` what of one payload must not be shown; a payload that cannot be read hides the whole text."""

    def __init__(self, raw: bytes, shown: bytes | None, field_names: frozenset[str]) -> None:
        self._raw = raw
        self._shown = shown
        self._field_names = field_names

    def scrub(self, text: str) -> str:
        """The text without what is withheld."""
        try:
            withheld = self._withheld()
        except (ValueError, RecursionError):
            return UNREADABLE
        # Long ones first: a short one may be a part of them.
        for value in sorted(withheld, key=len, reverse=True):
            for form in _forms(value, text):
                text = text.replace(form, HIDDEN)
        return text

    def _withheld(self) -> set[str]:
        shown = "\n".join(_leaves(from_json(self._shown), frozenset())) if self._shown is not None else ""
        values = set(_leaves(from_json(self._raw), self._field_names))
        return {value for value in values if _counts(value) and value not in shown}


def _counts(value: str) -> bool:
    return len(value) >= _SHORTEST


def _leaves(value: Any, field_names: frozenset[str]) -> Iterator[str]:
    """Every string, long number and key that is data, of a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():  # pyright: ignore[reportUnknownVariableType]
            if key not in field_names:
                yield str(key)  # pyright: ignore[reportUnknownArgumentType]
            yield from _leaves(inner, field_names)
    elif isinstance(value, list):
        for inner in value:  # pyright: ignore[reportUnknownVariableType]
            yield from _leaves(inner, field_names)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        text = repr(value)
        if len(_DIGITS.findall(text)) >= _SHORTEST_NUMBER:
            yield text.lstrip("-")


def _forms(value: str, text: str) -> Iterator[str]:
    """The ways in which `value` may stand in `text`; only those that can be there, the longest first."""
    raw = value.encode("utf-8", "surrogatepass")
    forms = {
        value,
        repr(value)[1:-1],
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        quote(raw, safe=""),
        quote(raw),
        quote_plus(raw),
    }
    forms |= {_lower_hex(form) for form in forms if "%" in form}
    forms |= set(_base64_forms(raw))
    for form in sorted(forms, key=len, reverse=True):
        if form and form in text:
            yield form


def _lower_hex(text: str) -> str:
    return re.sub(r"%[0-9A-F]{2}", lambda match: match.group().lower(), text)


def _base64_forms(raw: bytes) -> Iterator[str]:
    for encode in (b64encode, urlsafe_b64encode):
        whole = encode(raw).decode()
        yield whole
        yield whole.rstrip("=")
        # Inside a longer text it may begin at any of three places; what its neighbours share bits with is left out.
        for before in range(3):
            shifted = encode(b"\0" * before + raw).decode().rstrip("=")
            start = (0, 2, 3)[before]
            end = len(shifted) if (before + len(raw)) % 3 == 0 else len(shifted) - 1
            inner = shifted[start:end]
            if len(inner) >= _SHORTEST_INNER_BASE64:
                yield inner


def scrub_exception(error: BaseException, scrubber: Scrubber) -> tuple[str, str]:
    """The type's name and the message of an error, scrubbed, then cut to 2,000 characters."""
    name = str(getattr(type(error), "__name__", "Exception"))
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything
        text = "<its message cannot be read>"
    return scrubber.scrub(name), scrubber.scrub(text)[:_LONGEST_MESSAGE]


def stack(error: BaseException) -> list[str]:
    """Where an error was raised: `file:line function` of each frame, the innermost last; no source text, no value."""
    frames = traceback.extract_tb(error.__traceback__)
    return [
        f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
        for frame in frames[-_MOST_FRAMES:]
        if not frame.filename.endswith(_OWN_FRAMES)
    ]
