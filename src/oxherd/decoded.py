r"""A text as it reads with its disguises undone: `\u00e9`, `%C3%A9`, `+`, `1,234`, `4111 1111`, base64, one in another.

Each reading remembers where in the text its characters came from, so that what is found in it can be cut out there.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

_DEPTH: Final = 3
_AFTER_BASE64: Final = 1

_HEX: Final = "[0-9a-fA-F]"


def _utf8(mark: str) -> str:
    """A pattern for one character written as its UTF-8 bytes, each in hex behind a mark."""
    more = f"(?:{mark}[89abAB]{_HEX})"
    return f"{mark}[cdCD]{_HEX}{more}|{mark}[eE]{_HEX}{more}{{2}}|{mark}[fF]{_HEX}{more}{{3}}"


_ESCAPE_FORMS: Final = (
    rf"\\u[dD][89abAB]{_HEX}{{2}}\\u[dD][c-fC-F]{_HEX}{{2}}|\\u{_HEX}{{4}}|\\U{_HEX}{{8}}|\\x{_HEX}{{2}}"
    r"""|\\[nrtbfva\\'"/]"""
)
_ESCAPE: Final = re.compile(_ESCAPE_FORMS)
_BYTES_ESCAPE: Final = re.compile(_utf8(r"\\x") + "|" + _ESCAPE_FORMS)
_BYTES_CHARACTER: Final = re.compile(_utf8(r"\\x"))
_PERCENT_FORMS: Final = f"{_utf8('%')}|%{_HEX}{{2}}"
_PERCENT: Final = re.compile(_PERCENT_FORMS)
_PERCENT_OR_PLUS: Final = re.compile(rf"\+|{_PERCENT_FORMS}")
# A number in thousands, and a card's or an account's in groups.
_GROUPING: Final = re.compile(r"(?<=\d)[,_.\s\-\u2010-\u2015](?=\d{3})")
# Four characters, the shortest text to find, are six of base64.
_BASE64_RUN: Final = re.compile(r"[A-Za-z0-9+/_-]{6,}")

_CONTROLS: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "v": "\v", "a": "\a"}
_STANDARD: Final = str.maketrans("-_", "+/")


@dataclass(slots=True, frozen=True)
class Reading:
    """A text, and for each of its characters the first and the next position in the original."""

    text: str
    starts: list[int]
    ends: list[int]
    cuts: tuple[int, ...] = ()
    """Where it breaks off because the original was cut."""


def readings(text: str, *, cut: bool = False) -> Iterator[Reading]:
    """The text itself, then every other way in which it can be read; `cut` says that its end is missing."""
    size = len(text)
    yield from _below(
        Reading(text, list(range(size)), list(range(1, size + 1)), (size,) if cut else ()), _DEPTH, {text}
    )


def _below(reading: Reading, depth: int, seen: set[str]) -> Iterator[Reading]:
    yield reading
    if depth == 0:
        return
    for decode in (_unescaped, _unescaped_bytes, _unquoted, _unquoted_plus, _ungrouped):
        found = decode(reading)
        if found is not None and found.text not in seen:
            seen.add(found.text)
            yield from _below(found, depth - 1, seen)
    # Words read as base64 are noise, in which base64 would find only more of it.
    if depth > _AFTER_BASE64:
        found = _from_base64(reading)
        if found is not None and found.text not in seen:
            seen.add(found.text)
            yield from _below(found, _AFTER_BASE64, seen)


def _rewritten(reading: Reading, pattern: re.Pattern[str], replace: Callable[[str], str]) -> Reading | None:
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    position = 0
    for match in pattern.finditer(reading.text):
        first, after = match.span()
        out = replace(match[0])
        pieces += (reading.text[position:first], out)
        starts += reading.starts[position:first] + [reading.starts[first]] * len(out)
        ends += reading.ends[position:first] + [reading.ends[after - 1]] * len(out)
        position = after
    if not pieces:
        return None
    pieces.append(reading.text[position:])
    starts += reading.starts[position:]
    ends += reading.ends[position:]
    text = "".join(pieces)
    return Reading(text, starts, ends, (len(text),) if len(reading.text) in reading.cuts else ())


def _unescaped(reading: Reading) -> Reading | None:
    return _rewritten(reading, _ESCAPE, _escape) if "\\" in reading.text else None


def _unescaped_bytes(reading: Reading) -> Reading | None:
    if "\\x" not in reading.text or not _BYTES_CHARACTER.search(reading.text):
        return None
    return _rewritten(reading, _BYTES_ESCAPE, _escape)


def _escape(token: str) -> str:
    if len(token) == 2:
        return _CONTROLS.get(token[1], token[1])
    if token[1] == "x" and len(token) > 4:
        return bytes.fromhex(token.replace("\\x", "")).decode(errors="replace")
    if len(token) == 12:
        high, low = int(token[2:6], 16), int(token[8:], 16)
        return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))
    digits = token[2:]
    code = int(digits, 16)
    return chr(code) if code <= 0x10FFFF else "\ufffd"


def _unquoted(reading: Reading) -> Reading | None:
    return _rewritten(reading, _PERCENT, _percent) if "%" in reading.text else None


def _unquoted_plus(reading: Reading) -> Reading | None:
    return _rewritten(reading, _PERCENT_OR_PLUS, _percent) if "+" in reading.text else None


def _percent(token: str) -> str:
    if token == "+":  # noqa: S105  # not a password
        return " "
    raw = bytes.fromhex(token.replace("%", ""))
    return chr(raw[0]) if len(raw) == 1 else raw.decode(errors="replace")


def _ungrouped(reading: Reading) -> Reading | None:
    return _rewritten(reading, _GROUPING, lambda _: "")


def _from_base64(reading: Reading) -> Reading | None:
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    cuts: list[int] = []
    for match in _BASE64_RUN.finditer(reading.text):
        # What stands before the base64 may be of its alphabet too, so it can begin at any of four places.
        for first in range(match.start(), match.start() + 4):
            text, places = _base64_text(match.string[first : match.end()])
            pieces += (text, "\0")
            starts += [reading.starts[first + (8 * place) // 6] for place in places[:-1]]
            ends += [reading.ends[first + (8 * place - 1) // 6] for place in places[1:]]
            if match.end() in reading.cuts:
                cuts.append(len(starts))
            starts.append(reading.starts[first])
            ends.append(reading.ends[first])
    return Reading("".join(pieces), starts, ends, tuple(cuts)) if pieces else None


def _base64_text(run: str) -> tuple[str, range | list[int]]:
    """The decoded text and, for each of its characters and for its end, the place among the decoded bytes."""
    run = run[:-1] if len(run) % 4 == 1 else run
    data = a2b_base64(run.translate(_STANDARD) + "=" * (-len(run) % 4))
    text = data.decode(errors="surrogateescape")
    if len(text) == len(data):
        return text, range(len(data) + 1)
    places = [0]
    for character in text:
        places.append(places[-1] + len(character.encode(errors="surrogateescape")))
    return text, places
