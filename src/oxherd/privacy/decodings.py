r"""Decodes a text in every way that may hide a value, up to three deep: `\u00e9`, `%C3%A9`, `+`, `1,234`, `4111 1111`,
base64, wrapped lines.

Each decoding maps its characters to offsets in the original, so that what is found in it can be cut out there.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

_DEPTH: Final = 3
_DEPTH_IN_BASE64: Final = 1

_HEX: Final = "[0-9a-fA-F]"


def _utf8(mark: str) -> str:
    """A pattern for one non-ASCII character as UTF-8 bytes, each in hex after a mark."""
    more = f"(?:{mark}[89abAB]{_HEX})"
    return f"{mark}[cdCD]{_HEX}{more}|{mark}[eE]{_HEX}{more}{{2}}|{mark}[fF]{_HEX}{more}{{3}}"


_ESCAPES: Final = (
    rf"\\u[dD][89abAB]{_HEX}{{2}}\\u[dD][c-fC-F]{_HEX}{{2}}|\\u{_HEX}{{4}}|\\U{_HEX}{{8}}|\\x{_HEX}{{2}}"
    r"""|\\[nrtbfva\\'"/]"""
)
_PERCENT: Final = f"{_utf8('%')}|%{_HEX}{{2}}"
# Digits in thousands; the groups of a card or telephone number; an account's groups of letters and digits.
_GROUPING: Final = r"(?<=\d)(?:[,_.\s/\-\u2010-\u2015]| ?\(|\) ?)(?=\d)|(?<=[0-9A-Z]{4})[ -](?=[0-9A-Z])"
# Before each line of a traceback within an exception group.
_MARGIN: Final = r"(?<=\n) {2,}\| "
# Line breaks in base64, as in mails and certificates.
_WRAPPING: Final = r"(?<=[A-Za-z0-9+/_-]{16})(?:\r?\n|\\r\\n|\\n)(?:[ \t]+(?:\| )?)?(?=[A-Za-z0-9+/_-])"
# Four characters, the shortest text that is searched for, are six in base64.
_BASE64_RUN: Final = re.compile(r"[A-Za-z0-9+/_-]{6,}")

_CONTROLS: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "v": "\v", "a": "\a"}
_STANDARD_ALPHABET: Final = str.maketrans("-_", "+/")

# For each character, the offsets in the original where it begins and ends.
Offsets = tuple[list[int], list[int]]


class Decoding:
    """A decoded text; `cuts` are the offsets in it where it breaks off because the original was cut."""

    __slots__ = ("_compute_offsets", "_offsets", "cuts", "text")

    def __init__(self, text: str, compute_offsets: Callable[[], Offsets], cuts: tuple[int, ...] = ()) -> None:
        self.text = text
        self.cuts = cuts
        self._compute_offsets = compute_offsets
        self._offsets: Offsets | None = None

    @property
    def offsets(self) -> Offsets:
        """Where each character begins and ends in the original; computed when first asked for."""
        if self._offsets is None:
            self._offsets = self._compute_offsets()
        return self._offsets


def decodings(text: str, *, cut: bool = False) -> Iterator[Decoding]:
    """The text itself, then every other decoding; `cut` says that the text's end is missing."""
    size = len(text)
    original = Decoding(text, lambda: (list(range(size)), list(range(1, size + 1))), (size,) if cut else ())
    yield from _decode(original, _DEPTH, {text})


def _decode(decoding: Decoding, depth: int, seen: set[str]) -> Iterator[Decoding]:
    yield decoding
    if depth == 0:
        return
    for needed, pattern, replace in _SUBSTITUTIONS:
        found = _substituted(decoding, pattern, replace) if needed in decoding.text else None
        if found is not None and found.text not in seen:
            seen.add(found.text)
            yield from _decode(found, depth - 1, seen)
    # Plain words decoded as base64 are noise, in which base64 would find only more noise.
    if depth > _DEPTH_IN_BASE64:
        found = _from_base64(decoding)
        if found is not None and found.text not in seen:
            seen.add(found.text)
            yield from _decode(found, _DEPTH_IN_BASE64, seen)


def _substituted(decoding: Decoding, pattern: re.Pattern[str], replace: Callable[[str], str]) -> Decoding | None:
    text, count = pattern.subn(lambda match: replace(match[0]), decoding.text)
    if not count:
        return None
    cuts = (len(text),) if len(decoding.text) in decoding.cuts else ()
    return Decoding(text, partial(_substituted_offsets, decoding, pattern, replace), cuts)


def _substituted_offsets(decoding: Decoding, pattern: re.Pattern[str], replace: Callable[[str], str]) -> Offsets:
    begins, ends = decoding.offsets
    new_begins: list[int] = []
    new_ends: list[int] = []
    done = 0
    for match in pattern.finditer(decoding.text):
        first, after = match.span()
        size = len(replace(match[0]))
        new_begins += begins[done:first] + [begins[first]] * size
        new_ends += ends[done:first] + [ends[after - 1]] * size
        done = after
    return new_begins + begins[done:], new_ends + ends[done:]


def _unescape(token: str) -> str:
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


def _unquote(token: str) -> str:
    if token == "+":  # noqa: S105  # not a password
        return " "
    raw = bytes.fromhex(token.replace("%", ""))
    return chr(raw[0]) if len(raw) == 1 else raw.decode(errors="replace")


def _remove(_: str) -> str:
    return ""


# What the text must hold, what is replaced, and by what.
_SUBSTITUTIONS: Final = tuple(
    (needed, re.compile(pattern), replace)
    for needed, pattern, replace in (
        ("\\", _ESCAPES, _unescape),
        ("\\x", _utf8(r"\\x") + "|" + _ESCAPES, _unescape),
        ("%", _PERCENT, _unquote),
        ("+", rf"\+|{_PERCENT}", _unquote),
        ("", _GROUPING, _remove),
        ("\n", _MARGIN, _remove),
        ("", _WRAPPING, _remove),
    )
)


def _from_base64(decoding: Decoding) -> Decoding | None:
    pieces: list[str] = []
    # Where each piece's base64 begins, and the offsets of its characters among the decoded bytes.
    runs: list[tuple[int, range | list[int]]] = []
    cuts: list[int] = []
    size = 0
    for match in _BASE64_RUN.finditer(decoding.text):
        # Text before the base64 may use its alphabet, so it can begin at any of four offsets.
        for first in range(match.start(), match.start() + 4):
            text, byte_offsets = _decode_base64(match.string[first : match.end()])
            pieces += (text, "\0")
            runs.append((first, byte_offsets))
            size += len(text) + 1
            if match.end() in decoding.cuts:
                cuts.append(size - 1)
    return Decoding("".join(pieces), partial(_base64_offsets, decoding, runs), tuple(cuts)) if pieces else None


def _base64_offsets(decoding: Decoding, runs: list[tuple[int, range | list[int]]]) -> Offsets:
    begins, ends = decoding.offsets
    new_begins: list[int] = []
    new_ends: list[int] = []
    for first, byte_offsets in runs:
        new_begins += [begins[first + (8 * offset) // 6] for offset in byte_offsets[:-1]]
        new_ends += [ends[first + (8 * offset - 1) // 6] for offset in byte_offsets[1:]]
        new_begins.append(begins[first])
        new_ends.append(ends[first])
    return new_begins, new_ends


def _decode_base64(run: str) -> tuple[str, range | list[int]]:
    """The decoded text, and the offsets of its characters and of its end among the decoded bytes."""
    run = run[:-1] if len(run) % 4 == 1 else run
    data = a2b_base64(run.translate(_STANDARD_ALPHABET) + "=" * (-len(run) % 4))
    text = data.decode(errors="surrogateescape")
    if len(text) == len(data):
        return text, range(len(data) + 1)
    offsets = [0]
    for character in text:
        offsets.append(offsets[-1] + len(character.encode(errors="surrogateescape")))
    return text, offsets
