"""Keeps what the log withholds out of error messages, however it is encoded there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from traceback import walk_tb
from typing import Any, Final, cast

from oxherd.decoded import Reading, readings
from oxherd.masks import HIDDEN

UNREADABLE: Final = "<withheld: the payload could not be read>"
TOO_COSTLY: Final = "<withheld: the text could not be scrubbed in time>"
NO_TEXT: Final = "<the error has no readable text>"

SHORTEST_STRING: Final = 4
SHORTEST_NUMBER: Final = 6
SHORTEST_LINE: Final = 8
LONGEST_MESSAGE: Final = 2_000
LONGEST_TEXT: Final = 16_000
MOST_FRAMES: Final = 50

# Comparisons in one text: a payload made to be slow must not hold up the worker.
_BUDGET: Final = 100_000
_MOST_PARTS: Final = 500

# pydantic cuts the value it quotes in the middle, so it would not be recognised.
_PYDANTIC_INPUT: Final = re.compile(r"(?<=\binput_value=).*(?=, input_type=)")


class _Number(str):
    """A number as it stands in JSON."""

    __slots__ = ()


class _TooCostly(Exception):
    pass


class Scrubber:
    """Replaces by `***` what of one payload the log does not show; built for each failure, read only when used."""

    def __init__(self, raw_payload_json: bytes, shown_json: bytes | None, field_names: frozenset[str]) -> None:
        self._raw = raw_payload_json
        self._shown_json = shown_json
        self._field_names = field_names
        self._withheld: _Withheld | None = None

    def scrub(self, text: str) -> str:
        """The text without any withheld value; a fixed text if the payload or its values cannot be told."""
        cut = len(text) > LONGEST_TEXT
        text = _PYDANTIC_INPUT.sub(HIDDEN, text[:LONGEST_TEXT])
        try:
            if self._withheld is None:
                self._withheld = _Withheld(self._raw, self._shown_json, self._field_names)
            spans = self._withheld.spans(text, cut=cut)
        except _TooCostly:
            return TOO_COSTLY
        except (ValueError, RecursionError):
            return UNREADABLE
        return _without(text, spans) + ("..." if cut else "")


class _Withheld:
    """The values of a payload that its shown JSON does not show, found by their first four characters."""

    def __init__(self, raw: bytes, shown_json: bytes | None, field_names: frozenset[str]) -> None:
        shown = set() if shown_json is None else set(_leaves(shown_json, frozenset()))
        self._shown_strings = {leaf for leaf in shown if not isinstance(leaf, _Number)}
        self._shown_text = "\0".join(self._shown_strings)
        self._parts_tried = 0
        shown_numbers = {form for leaf in shown if isinstance(leaf, _Number) for form in _forms(leaf)}
        exactly = self._shown_strings | shown_numbers
        self._numbers: set[str] = set()
        self._needles: set[str] = set()
        for leaf in set(_leaves(raw, field_names)):
            if isinstance(leaf, _Number):
                forms = _forms(leaf)
                if exactly.isdisjoint(forms) and any(sum(map(str.isdigit, form)) >= SHORTEST_NUMBER for form in forms):
                    self._numbers.update(form for form in forms if len(form) >= SHORTEST_STRING)
            elif leaf not in exactly:
                self._needles.update(_pieces(leaf))
        self._needles |= self._numbers
        self._by_start: dict[str, list[str]] = {}
        for needle in self._needles:
            self._by_start.setdefault(needle[:SHORTEST_STRING], []).append(needle)
        self._sizes: dict[str, list[int]] = {}
        self._budget = 0

    def spans(self, text: str, *, cut: bool) -> list[tuple[int, int]]:
        """Where in the text withheld values stand, as they are or encoded."""
        self._budget = _BUDGET
        if not self._needles:
            return []
        return [
            (reading.starts[first], reading.ends[after - 1])
            for reading in readings(text, cut=cut)
            for first, after in self._found(reading)
        ]

    def _found(self, reading: Reading) -> Iterator[tuple[int, int]]:
        text, by_start = reading.text, self._by_start
        covered = 0
        for first in [at for at in range(len(text) - 3) if text[at : at + SHORTEST_STRING] in by_start]:
            after = max(self._longest(text, first, covered), self._broken_off(reading, first))
            if after > covered:
                covered = after
                yield first, after

    def _longest(self, text: str, first: int, covered: int) -> int:
        """The end of the longest withheld value that starts here and reaches further than what is covered."""
        start = text[first : first + SHORTEST_STRING]
        sizes = self._sizes.get(start)
        if sizes is None:
            sizes = self._sizes[start] = sorted({len(needle) for needle in self._by_start[start]}, reverse=True)
        for size in sizes:
            if first + size <= covered:
                break
            self._spend(1 + size // 1_000)
            needle = text[first : first + size]
            if needle in self._needles and not self._is_part_of_shown(needle):
                return first + size
        return 0

    def _broken_off(self, reading: Reading, first: int) -> int:
        cut = next((end for end in reading.cuts if end > first), None)
        if cut is None:
            return 0
        rest = reading.text[first:cut]
        bucket = self._by_start[rest[:SHORTEST_STRING]] if len(rest) >= SHORTEST_STRING else []
        for needle in bucket:
            self._spend(1)
            if len(needle) > len(rest) and needle.startswith(rest) and not self._is_part_of_shown(needle):
                return cut
        return 0

    def _spend(self, cost: int) -> None:
        self._budget -= cost
        if self._budget < 0:
            raise _TooCostly

    def _is_part_of_shown(self, needle: str) -> bool:
        """Whether the shown JSON has it within a string; past a number of questions the answer is no."""
        if needle in self._numbers or self._parts_tried >= _MOST_PARTS:
            return False
        self._parts_tried += 1
        return needle in self._shown_text


def _leaves(raw: bytes, field_names: frozenset[str]) -> Iterator[str]:
    """Every string, number and undeclared key of a JSON text; numbers as `_Number`."""
    pending: list[Any] = [json.loads(raw, parse_int=_Number, parse_float=_Number)]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            pending += cast("list[Any]", value)
        elif isinstance(value, dict):
            pairs = cast("dict[str, Any]", value)
            pending += pairs.values()
            yield from (key for key in pairs if key not in field_names)


def _forms(number: _Number) -> set[str]:
    """The ways in which Python and JSON write a number, without its sign."""
    token = str(number).lstrip("-")
    forms = {token}
    if not token.isdigit():
        value = float(token)
        forms.add(repr(value))
        if value.is_integer():
            forms.add(str(int(value)))
    return forms


def _pieces(value: str) -> Iterator[str]:
    stripped = value.strip()
    if len(stripped) >= SHORTEST_STRING:
        yield stripped
    elif len(value) >= SHORTEST_STRING:
        yield value
    if "\n" in stripped:
        yield from (line for part in stripped.splitlines() if len(line := part.strip()) >= SHORTEST_LINE)


def _without(text: str, spans: list[tuple[int, int]]) -> str:
    pieces: list[str] = []
    position = 0
    for first, after in sorted(spans):
        if first >= position:
            pieces += (text[position:first], HIDDEN)
        position = max(position, after)
    return "".join(pieces) + text[position:]


def scrub_exception(exc: BaseException, scrubber: Scrubber) -> tuple[str, str]:
    """An exception's type and its message as it may leave the process, at most 2,000 characters of it."""
    try:
        text = str(exc)
    except Exception:  # noqa: BLE001  # an error's own __str__ may raise anything
        text = NO_TEXT
    return type(exc).__name__, scrubber.scrub(text)[:LONGEST_MESSAGE]


def stack(exc: BaseException) -> list[str]:
    """Where an exception passed, as `file:line function`, innermost last: no source text, no values."""
    frames = [f"{frame.f_code.co_filename}:{line} {frame.f_code.co_name}" for frame, line in walk_tb(exc.__traceback__)]
    return frames[-MOST_FRAMES:]
