"""Makes values from a fuzzer's bytes: half-valid texts, JSON and fields, with canaries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

# What a payload holds and no error may show; found again by its core, however the rest of it is cut or quoted.
CORE = "7f3a91c2"
CANARY = f"canary {CORE} of a payload"
CANARY_NUMBER = "4111111111111111"

_SPECIAL = (
    "",
    " ",
    "\0",
    "\n",
    '"',
    "\\",
    "'",
    "\x1b[2J",
    "\x1b]0;title\x07",
    "\u2028",
    "\u202e",
    "\x85",
    "\ud800",
    "\U0010ffff",
    "é",
    "²",
    "٣",
    "2026-11-24T09:22:37Z",
    "9999-12-31T23:59:59.999999Z",
    "99999-01-01",
    "0000-00-00",
    "P1D",
    "1" * 30,
    "1e400",
    "nan",
    "-",
    "%s",
    "{0}",
    "a@b",
    "http://user:pass@[::1]:99999/",
    "00000000-0000-0000-0000-000000000000",
)
_NUMBERS = (
    "0",
    "-0",
    "1",
    "-1",
    "3",
    "1000",
    "2147483648",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
    CANARY_NUMBER,
    "1e3",
    "1.5",
    "-0.0",
    "5e-324",
    "1e308",
    "-1e308",
    "1e400",
    "253402300799000",
    "253402300800000",
    "9" * 400,
    "9" * 5000,
    "01",
    "+1",
    "1_000",
    " 1",
    "NaN",
    "Infinity",
    "-Infinity",
)
_ESCAPES = ('"\\ud800"', '"\\u0000"', '"\\udfff\\ud800"', '"\\x"', '"', '"\\u12"', f'"\\u0063{CANARY[1:]}"')


class Source:
    """Reads decisions from bytes; once they are used up, every decision is the first, which is always the simplest."""

    def __init__(self, data: bytes, keys: Sequence[str] = ()) -> None:
        self._data = data
        self._at = 0
        self._keys = (*keys, CANARY, "", "\x1b[31m", "a" * 300)

    @property
    def left(self) -> int:
        """How many bytes are not used yet."""
        return max(0, len(self._data) - self._at)

    def below(self, count: int) -> int:
        """A number from 0, below `count` (at most 256)."""
        if self._at >= len(self._data):
            return 0
        self._at += 1
        return self._data[self._at - 1] % count

    def choose(self, options: Sequence[T]) -> T:
        """One of them."""
        return options[self.below(len(options))]

    def flag(self) -> bool:
        """True or False."""
        return bool(self.below(2))

    def raw(self) -> bytes:
        """Some of the bytes as they are: up to 255, or all that are left."""
        size = self.below(256)
        size = self.left if size == 255 else size
        taken = self._data[self._at : self._at + size]
        self._at += len(taken)
        return taken

    def text(self) -> str:
        """Any text: a few pieces, some of them canaries or hard to print."""
        return "".join(self._piece() for _ in range(self.below(4)))

    def number(self) -> str:
        """A number as other programs may write it, or nearly one."""
        return self.choose(_NUMBERS) if self.below(8) else self.text()

    def json(self, depth: int = 0) -> str:
        """JSON, or nearly."""
        kind = self.below(12)
        if kind < 2 or depth > 5:
            return self.choose(("null", "true", "false", "{}", "[]", '""'))
        if kind < 4:
            return self.choose(_NUMBERS)
        if kind < 6:
            return self._quoted(self.text())
        if kind < 9:
            return self.object(depth)
        if kind == 9:
            return "[" + ",".join(self.json(depth + 1) for _ in range(self.below(5))) + "]"
        if kind == 10:
            return self.choose((*_ESCAPES, "", "{", "[", "nul", "{'a':1}", "\ufeff{}"))
        return self._deep() if self.flag() else self.text()

    def object(self, depth: int = 0, keys: Sequence[str] = ()) -> str:
        """A JSON object with these keys, or those that the target knows, or nearly."""
        known = keys if keys and self.below(8) else self._keys
        pairs = (f"{self._quoted(self.choose(known))}:{self.json(depth + 1)}" for _ in range(self.below(7)))
        return "{" + ",".join(pairs) + "}"

    def _quoted(self, text: str) -> str:
        if self.below(8) == 7:
            return f'"{text}"'
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c >= " " else f"\\u{ord(c):04x}" for c in escaped) + '"'

    def _piece(self) -> str:
        kind = self.below(5)
        if kind == 0:
            return self.choose(self._keys)
        if kind == 1:
            return CANARY
        if kind == 2:
            return self.choose(_SPECIAL)
        if kind == 3:
            return self.raw().decode("utf-8", "surrogateescape")
        return self.choose(("a", CANARY, "[", '{"a":', "1", " ", "\n", "9")) * 2 ** self.below(15)

    def _deep(self) -> str:
        opening, closing = self.choose((("[", "]"), ('{"a":', "}"), ('[{"children":', "}]"), ('{"children":[', "]}")))
        count = 2 ** self.below(17)
        return opening * count + (self.json(6) + closing * count if self.flag() else "")


def as_bytes(text: str) -> bytes:
    """Text as bytes; what `raw` brought in comes out as it was, lone surrogates stay wrong."""
    return text.encode("utf-8", "surrogatepass") if not _from_bytes(text) else text.encode("utf-8", "surrogateescape")


def _from_bytes(text: str) -> bool:
    return not any("\ud800" <= char <= "\udc7f" or "\udd00" <= char <= "\udfff" for char in text)
