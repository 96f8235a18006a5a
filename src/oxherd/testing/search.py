"""Finds canaries in a text, plain or encoded: escaped for JSON, Python or a URL, in base64, in hex."""

from __future__ import annotations

import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote, quote_plus, unquote_plus

from oxherd.privacy.value_variants import value_variants
from oxherd.testing.canaries import Canary

_AROUND: Final = 60
_GROUPING: Final = re.compile(r"[\s.-]")


class Search:
    """Searches texts for canaries."""

    def __init__(self, canaries: Iterable[Canary]) -> None:
        self._needles = [(canary, _plain(canary.core), _hex(canary.core)) for canary in canaries]

    def find(self, text: str) -> Iterator[tuple[Canary, str]]:
        """Each canary found in the text, with the surrounding text."""
        lower = text.lower()
        decoded = unquote_plus(text) if "%" in text else ""
        for canary, needles, in_hex in self._needles:
            found = _first(text, needles) or _first(lower, in_hex) or _first(decoded, needles)
            if found:
                yield canary, found


def _first(text: str, needles: Iterable[str]) -> str:
    for needle in needles:
        at = text.find(needle)
        if at >= 0:
            first, after = max(0, at - _AROUND), at + len(needle) + _AROUND
            shown = " ".join(text[first:after].split())
            return f"{'...' if first else ''}{shown}{'...' if after < len(text) else ''}"
    return ""


def _plain(core: str) -> frozenset[str]:
    """The core itself, escaped, grouped as a number, and in base64."""
    escaped = {core, json.dumps(core)[1:-1], json.dumps(core, ensure_ascii=False)[1:-1], repr(core)[1:-1]}
    return frozenset(
        escaped | {quote(core, safe=""), quote(core), quote_plus(core)} | _numbers(core) | _base64(core.encode())
    ).union(value_variants(core))


def _numbers(core: str) -> set[str]:
    """A number without and with grouped digits."""
    plain = _GROUPING.sub("", core)
    if not plain.isdecimal():
        return set()
    return {plain} if plain.startswith("0") else {plain, f"{int(plain):,}", f"{int(plain):_}"}


def _base64(data: bytes) -> set[str]:
    """The characters that stand for `data` in the base64 of a longer text, at each of three alignments."""
    found: set[str] = set()
    for before in range(3):
        padded = bytes(before) + data
        first, after = -(-8 * before // 6), 8 * len(padded) // 6
        found |= {encode(padded).decode()[first:after] for encode in (b64encode, urlsafe_b64encode)}
    return found


def _hex(core: str) -> tuple[str, ...]:
    return (core.encode().hex(), core.encode().hex(" "), core.encode().hex(":"))
