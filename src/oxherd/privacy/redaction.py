"""Keeps what the log withholds out of error messages, however it is encoded there."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import PurePath
from traceback import walk_tb
from types import FrameType
from typing import Any, Final, cast

from oxherd.privacy.decodings import Reading, readings
from oxherd.privacy.digit_groups import compact_forms, parts
from oxherd.privacy.masks import HIDDEN
from oxherd.privacy.value_variants import spellings

UNREADABLE: Final = "<withheld: the payload could not be read>"
TOO_COSTLY: Final = "<withheld: the text could not be scrubbed in time>"
NO_TEXT: Final = "<the error has no readable text>"

SHORTEST_STRING: Final = 4
_START: Final = SHORTEST_STRING
SHORTEST_NUMBER: Final = 6
SHORTEST_LINE: Final = 8
# Python's own errors quote the first 200 characters of a value (`int("...")`), other code as much as it likes.
SHORTEST_BEGINNING: Final = 32
LONGEST_MESSAGE: Final = 2_000
LONGEST_TEXT: Final = 8_000
MOST_FRAMES: Final = 50

# So many beginnings are looked for one by one; of more, each of the text's own is looked up.
_FEW: Final = 200

# Frames that say nothing of the user's code.
_OWN_FRAMES: Final = ("worker/running/execution.py", "worker/executors/executor.py", "concurrent/futures/thread.py")
# Frames of an event loop that calls what is to be done.
_LOOP_FRAMES: Final = ("asyncio/events.py", "asyncio/base_events.py", "asyncio/runners.py")

# Comparisons in one text: a payload made to be slow must not hold up the worker.
_BUDGET: Final = 100_000
# Parts of partly shown values: as many as a thousand cards have.
_MOST_PARTS: Final = 30_000
# Characters of the shown JSON gone through to tell whether a value is part of it.
_SHOWN_BUDGET: Final = 10_000_000

# pydantic cuts the value it quotes in the middle, so it would not be recognised. The value goes on, over lines and past
# words of its own, up to the last `input_type` before the next error's value, or to where the text was cut.
_IS: Final = "(?:=|%3[dD])"
_PYDANTIC_INPUT: Final = re.compile(
    rf"(?s)(input_value{_IS})(?:(?:(?!input_value{_IS}).)*(?=(?:, |%2[cC](?:%20|\+))input_type{_IS})"
    rf"|(?:(?!input_value{_IS}).)*)"
)


class _Number(str):
    """A number as it stands in JSON."""

    __slots__ = ()


class _TooCostly(Exception):
    pass


class Redactor:
    """Replaces by `***` what of one payload the log does not show; built for each failure, read only when used."""

    def __init__(self, raw_payload_json: bytes, shown_json: bytes | None, field_names: frozenset[str]) -> None:
        self._raw = raw_payload_json
        self._shown_json = shown_json
        self._field_names = field_names
        self._withheld: _Withheld | None = None

    def scrub(self, text: str) -> str:
        """The text without any withheld value; a fixed text if the payload or its values cannot be told."""
        cut = len(text) > LONGEST_TEXT
        text = text[:LONGEST_TEXT]
        if "input_value" in text:
            text = _PYDANTIC_INPUT.sub(rf"\1{HIDDEN}", text)
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
    """The values of a payload that its shown JSON does not show."""

    def __init__(self, raw: bytes, shown_json: bytes | None, field_names: frozenset[str]) -> None:
        strings, numbers = _leaves(raw, field_names)
        shown_strings, shown_numbers = _leaves(shown_json or b"null", frozenset())
        self._shown = shown_strings.union(*map(_forms, shown_numbers))
        self._shown_text = "\0".join(shown_strings)
        self._numbers = {number for number in numbers if number.isdigit() and len(number) >= SHORTEST_NUMBER}
        self._numbers -= self._shown
        self._numbers.update(form for number in numbers if not number.isdigit() for form in self._decimal_forms(number))
        strings -= self._shown
        strings |= self._parts(strings, numbers - self._shown, shown_strings)
        strings |= {other for string in strings for other in spellings(string)} - self._shown
        self._strings = {part if len(part := string.strip()) >= SHORTEST_STRING else string for string in strings}
        for string in strings:
            if "\n" in string:
                self._strings.update(line for part in string.splitlines() if len(line := part.strip()) >= SHORTEST_LINE)
        self._starts = {needle[:_START] for needle in self._strings | self._numbers if len(needle) >= _START}

    @staticmethod
    def _parts(strings: set[str], numbers: set[str], shown: set[str]) -> set[str]:
        """Further texts that tell of withheld values."""
        found = list(islice(parts(strings | numbers, shown), _MOST_PARTS + 1))
        if len(found) > _MOST_PARTS:
            raise _TooCostly
        return set(found).union(*map(compact_forms, strings))

    def spans(self, text: str, *, cut: bool) -> list[tuple[int, int]]:
        """Where in the text withheld values stand, as they are or encoded."""
        # Most texts hold none, nor their beginnings.
        found = [(reading, starts) for reading in readings(text, cut=cut) if (starts := self._starts_in(reading.text))]
        if not found:
            return []
        starts = set[str]().union(*(each for _, each in found))
        strings = {string for string in self._strings if string[:_START] in starts}
        numbers = {number for number in self._numbers if number[:_START] in starts}
        search = _Search(strings, numbers, self._shown_text)
        return [
            (reading.places[0][first], reading.places[1][after - 1])
            for reading, _ in found
            for first, after in search.spans(reading)
        ]

    def _starts_in(self, text: str) -> set[str]:
        """With which four characters a withheld value may begin in the text."""
        if len(self._starts) <= _FEW:
            return {start for start in self._starts if start in text}
        return self._starts.intersection(text[at : at + _START] for at in range(len(text) - _START + 1))

    def _decimal_forms(self, number: str) -> Iterable[str]:
        forms = _forms(number)
        is_long = any(sum(map(str.isdigit, form)) >= SHORTEST_NUMBER for form in forms)
        return forms if is_long and self._shown.isdisjoint(forms) else ()


class _Search:
    """Finds withheld strings and numbers in a text, each by its first four characters."""

    def __init__(self, strings: set[str], numbers: set[str], shown_text: str) -> None:
        self._numbers = numbers
        self._needles = strings | numbers
        self._shown_text = shown_text
        self._by_start: dict[str, list[str]] = {}
        for needle in sorted(self._needles):
            if len(needle) >= _START:
                self._by_start.setdefault(needle[:_START], []).append(needle)
        self._sizes = {
            start: sorted({len(needle) for needle in needles}, reverse=True)
            for start, needles in self._by_start.items()
        }
        self._budget = _BUDGET
        self._shown_budget = _SHOWN_BUDGET

    def spans(self, reading: Reading) -> Iterator[tuple[int, int]]:
        """Where in one reading's text withheld values stand; overlapping ones may share characters."""
        text, sizes = reading.text, self._sizes
        covered = 0
        for first in [at for at in range(len(text) - _START + 1) if text[at : at + _START] in sizes]:
            after = self._broken_off(reading, first, covered) or max(
                self._longest(text, first, covered), self._beginning(text, first, covered)
            )
            if after > covered:
                covered = after
                yield first, after

    def _longest(self, text: str, first: int, covered: int) -> int:
        """The end of the longest withheld value that starts here and reaches further than what is covered."""
        for size in self._sizes[text[first : first + _START]]:
            if first + size <= covered:
                break
            if first + size > len(text):
                continue
            self._spend(1 + size // 1_000)
            needle = text[first : first + size]
            if needle in self._needles and not self._is_part_of_shown(needle):
                return first + size
        return 0

    def _beginning(self, text: str, first: int, covered: int) -> int:
        """The end of a long beginning of a withheld value, whose rest was left out of the text."""
        beginning = text[first : first + SHORTEST_BEGINNING]
        if first < covered or len(beginning) < SHORTEST_BEGINNING:
            return 0
        self._spend(1)
        start = beginning[:_START]
        needles = self._by_start[start]
        at = bisect_left(needles, beginning)
        if at == len(needles) or not needles[at].startswith(beginning):
            return 0
        rest = text[first : first + self._sizes[start][0]]
        self._spend(1 + len(rest) // 1_000)
        at = bisect_left(needles, rest)
        size = max(_common(needle, rest) for needle in needles[max(at - 1, 0) : at + 1])
        return 0 if self._is_part_of_shown(rest[:size]) else first + size

    def _broken_off(self, reading: Reading, first: int, covered: int) -> int:
        """Where the text was cut, if a withheld value begins here whose end is missing."""
        cut = next((end for end in reading.cuts if end > first), None)
        start = reading.text[first : first + _START]
        if cut is None or cut <= covered or first + self._sizes[start][0] <= cut:
            return 0
        rest = reading.text[first:cut]
        needles = self._by_start[start]
        self._spend(1 + len(rest) // 1_000)
        for at in range(bisect_left(needles, rest), len(needles)):
            if not needles[at].startswith(rest):
                break
            self._spend(1)
            if not self._is_part_of_shown(needles[at]):
                return cut
        return 0

    def _spend(self, cost: int) -> None:
        self._budget -= cost
        if self._budget < 0:
            raise _TooCostly

    def _is_part_of_shown(self, needle: str) -> bool:
        """Whether the shown JSON has it within a string; where that would take long the answer is no."""
        self._shown_budget -= len(self._shown_text)
        if needle in self._numbers or self._shown_budget < 0:
            return False
        return needle in self._shown_text


def _leaves(raw: bytes, field_names: frozenset[str]) -> tuple[set[str], set[str]]:
    """The strings and undeclared keys of a JSON text, and its numbers as they are written, without a sign."""
    strings: set[str] = set()
    numbers: set[str] = set()
    pending: list[list[Any]] = [[json.loads(raw, parse_int=_Number, parse_float=_Number)]]
    while pending:
        for value in pending.pop():
            if type(value) is str:
                if len(value) >= SHORTEST_STRING:
                    strings.add(value)
            elif type(value) is _Number:
                numbers.add(value.lstrip("-"))
            elif isinstance(value, list):
                pending.append(cast("list[Any]", value))
            elif isinstance(value, dict):
                pairs = cast("dict[str, Any]", value)
                pending.append([*pairs.values(), *(key for key in pairs if key not in field_names)])
    return strings, numbers


def _common(one: str, other: str) -> int:
    """How many characters two strings begin with alike."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _forms(number: str) -> set[str]:
    """The ways in which Python and JSON write a number."""
    if number.isdigit():
        return {number}
    value = float(number)
    return {number, repr(value), str(int(value)) if value.is_integer() else repr(value)}


def _without(text: str, spans: list[tuple[int, int]]) -> str:
    pieces: list[str] = []
    position = 0
    for first, after in sorted(spans):
        if first >= position:
            pieces += (text[position:first], HIDDEN)
        position = max(position, after)
    return "".join(pieces) + text[position:]


def redact_exception(exc: BaseException, redactor: Redactor) -> tuple[str, str]:
    """An exception's type and its message as it may leave the process, at most 2,000 characters of it."""
    try:
        text = str(exc)
    except Exception:  # noqa: BLE001  # an error's own __str__ may raise anything
        text = NO_TEXT
    # Lone surrogates, as in the name of a file that is not UTF-8, could not be sent to Redis.
    message = redactor.scrub(text).encode("utf-8", "backslashreplace").decode()
    return type(exc).__name__, message[:LONGEST_MESSAGE]


def stack(exc: BaseException) -> list[str]:
    """Where an exception passed, as `file:line function`, innermost last: no source text, no values, no folders."""
    frames = [
        _place(frame, line)
        for frame, line in walk_tb(exc.__traceback__)
        if not frame.f_code.co_filename.endswith(_OWN_FRAMES)
    ]
    return frames[-MOST_FRAMES:]


def stack_in_loop(frame: FrameType | None) -> list[str]:
    """Where an event loop's thread is, as `stack`: from the handler, or from what else the loop has called."""
    frames: list[str] = []
    while frame is not None and len(frames) < MOST_FRAMES:
        if frames and frame.f_code.co_filename.endswith((*_OWN_FRAMES, *_LOOP_FRAMES)):
            break
        frames.append(_place(frame, frame.f_lineno))
        frame = frame.f_back
    return frames[::-1]


def _place(frame: FrameType, line: int | None) -> str:
    return f"{PurePath(frame.f_code.co_filename).name}:{line or 0} {frame.f_code.co_name}"
