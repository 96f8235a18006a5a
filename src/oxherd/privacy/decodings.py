r"""A text as it reads with its disguises undone: `\u00e9`, `%C3%A9`, `+`, `1,234`, `4111 1111`, base64, lines that were
broken or set in a margin, one in another.

Each reading remembers where in the text its characters came from, so that what is found in it can be cut out there.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from collections.abc import Callable, Iterator
from functools import partial
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
# A number in thousands, a card's or a telephone's in groups, an account's in groups of letters and digits.
_GROUPING: Final = re.compile(r"(?<=\d)(?:[,_.\s/\-\u2010-\u2015]| ?\(|\) ?)(?=\d)|(?<=[0-9A-Z]{4})[ -](?=[0-9A-Z])")
# Before each line of an error that is one of a group.
_MARGIN: Final = re.compile(r"(?<=\n) {2,}\| ")
# Where base64 is broken into lines, as in mails and certificates.
_WRAPPED: Final = re.compile(r"(?<=[A-Za-z0-9+/_-]{16})(?:\r?\n|\\r\\n|\\n)(?:[ \t]+(?:\| )?)?(?=[A-Za-z0-9+/_-])")
# Four characters, the shortest text to find, are six of base64.
_BASE64_RUN: Final = re.compile(r"[A-Za-z0-9+/_-]{6,}")

_CONTROLS: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "v": "\v", "a": "\a"}
_STANDARD: Final = str.maketrans("-_", "+/")


# For each character of a text the first and the next position in the original.
Places = tuple[list[int], list[int]]


class Reading:
    """A text, and where in the original its characters came from, which is found once it is asked for.

    `cuts` are where it breaks off because the original was cut.
    """

    __slots__ = ("_find", "_places", "cuts", "text")

    def __init__(self, text: str, find: Callable[[], Places], cuts: tuple[int, ...] = ()) -> None:
        self.text = text
        self.cuts = cuts
        self._find = find
        self._places: Places | None = None

    @property
    def places(self) -> Places:
        """For each character the first and the next position in the original."""
        if self._places is None:
            self._places = self._find()
        return self._places


def readings(text: str, *, cut: bool = False) -> Iterator[Reading]:
    """The text itself, then every other way in which it can be read; `cut` says that its end is missing."""
    size = len(text)
    itself = Reading(text, lambda: (list(range(size)), list(range(1, size + 1))), (size,) if cut else ())
    yield from _below(itself, _DEPTH, {text})


def _below(reading: Reading, depth: int, seen: set[str]) -> Iterator[Reading]:
    yield reading
    if depth == 0:
        return
    for decode in (_unescaped, _unescaped_bytes, _unquoted, _unquoted_plus, _ungrouped, _without_margin, _unwrapped):
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
    text, count = pattern.subn(lambda match: replace(match[0]), reading.text)
    if not count:
        return None
    cuts = (len(text),) if len(reading.text) in reading.cuts else ()
    return Reading(text, partial(_rewritten_places, reading, pattern, replace), cuts)


def _rewritten_places(reading: Reading, pattern: re.Pattern[str], replace: Callable[[str], str]) -> Places:
    all_starts, all_ends = reading.places
    starts: list[int] = []
    ends: list[int] = []
    position = 0
    for match in pattern.finditer(reading.text):
        first, after = match.span()
        size = len(replace(match[0]))
        starts += all_starts[position:first] + [all_starts[first]] * size
        ends += all_ends[position:first] + [all_ends[after - 1]] * size
        position = after
    return starts + all_starts[position:], ends + all_ends[position:]


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


def _without_margin(reading: Reading) -> Reading | None:
    return _rewritten(reading, _MARGIN, lambda _: "") if "\n" in reading.text else None


def _unwrapped(reading: Reading) -> Reading | None:
    return _rewritten(reading, _WRAPPED, lambda _: "")


def _from_base64(reading: Reading) -> Reading | None:
    pieces: list[str] = []
    # Where in the reading each piece begins, and its characters' places among the decoded bytes.
    decoded: list[tuple[int, range | list[int]]] = []
    cuts: list[int] = []
    size = 0
    for match in _BASE64_RUN.finditer(reading.text):
        # What stands before the base64 may be of its alphabet too, so it can begin at any of four places.
        for first in range(match.start(), match.start() + 4):
            text, places = _base64_text(match.string[first : match.end()])
            pieces += (text, "\0")
            decoded.append((first, places))
            size += len(text) + 1
            if match.end() in reading.cuts:
                cuts.append(size - 1)
    return Reading("".join(pieces), partial(_base64_places, reading, decoded), tuple(cuts)) if pieces else None


def _base64_places(reading: Reading, decoded: list[tuple[int, range | list[int]]]) -> Places:
    all_starts, all_ends = reading.places
    starts: list[int] = []
    ends: list[int] = []
    for first, places in decoded:
        starts += [all_starts[first + (8 * place) // 6] for place in places[:-1]]
        ends += [all_ends[first + (8 * place - 1) // 6] for place in places[1:]]
        starts.append(all_starts[first])
        ends.append(all_ends[first])
    return starts, ends


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
