"""Redacts from texts what the log withholds of a payload, however it is encoded there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import islice
from typing import Any, Final, cast

from oxherd.privacy.decodings import decodings
from oxherd.privacy.digit_groups import compact_forms, digit_groups
from oxherd.privacy.masks import HIDDEN
from oxherd.privacy.value_search import PREFIX, Search, TooCostly
from oxherd.privacy.value_variants import value_variants

UNREADABLE: Final = "<withheld: the payload could not be read>"
TOO_COSTLY: Final = "<withheld: the text could not be redacted in time>"
NO_TEXT: Final = "<the error has no readable text>"

SHORTEST_STRING: Final = PREFIX
SHORTEST_NUMBER: Final = 6
SHORTEST_LINE: Final = 8
LONGEST_MESSAGE: Final = 2_000
LONGEST_TEXT: Final = 8_000

# Up to this many prefixes are searched for one by one; of more, each of the text's own is looked up.
_FEW_PREFIXES: Final = 200
# As many as a thousand card numbers have.
_MOST_DIGIT_GROUPS: Final = 30_000

# pydantic quotes a value with its middle cut out, which no search would find. The value may hold any text: it ends at
# the last `input_type` before the next error's value, or where the text was cut.
_IS: Final = "(?:=|%3[dD])"
_PYDANTIC_INPUT: Final = re.compile(
    rf"(?s)(input_value{_IS})(?:(?:(?!input_value{_IS}).)*(?=(?:, |%2[cC](?:%20|\+))input_type{_IS})"
    rf"|(?:(?!input_value{_IS}).)*)"
)


class Redactor:
    """Replaces by `***` what the log withholds of one payload; reads the payload when first used."""

    def __init__(self, raw_payload_json: bytes, shown_json: bytes | None, field_names: frozenset[str]) -> None:
        self._raw = raw_payload_json
        self._shown_json = shown_json
        self._field_names = field_names
        self._withheld: _Withheld | None = None

    def redact(self, text: str) -> str:
        """The first 8,000 characters of a text, without withheld values; a fixed text if that cannot be ensured."""
        cut = len(text) > LONGEST_TEXT
        text = text[:LONGEST_TEXT]
        if "input_value" in text:
            text = _PYDANTIC_INPUT.sub(rf"\1{HIDDEN}", text)
        try:
            if self._withheld is None:
                self._withheld = _Withheld(self._raw, self._shown_json, self._field_names)
            spans = self._withheld.find(text, cut=cut)
        except TooCostly:
            return TOO_COSTLY
        except (ValueError, RecursionError):
            return UNREADABLE
        return _without(text, spans) + ("..." if cut else "")


def redact_exception(exc: BaseException, redactor: Redactor) -> tuple[str, str]:
    """An exception's type, and its message as it may leave the process: redacted, at most 2,000 characters."""
    try:
        text = str(exc)
    except Exception:  # noqa: BLE001  # an error's own __str__ may raise anything
        text = NO_TEXT
    # Lone surrogates, as in the name of a file that is not UTF-8, could not be sent to Redis.
    message = redactor.redact(text).encode("utf-8", "backslashreplace").decode()
    return type(exc).__name__, message[:LONGEST_MESSAGE]


class _Number(str):
    """A number as JSON writes it."""

    __slots__ = ()


class _Withheld:
    """The strings and numbers of a payload that its shown JSON does not show."""

    def __init__(self, raw: bytes, shown_json: bytes | None, field_names: frozenset[str]) -> None:
        strings, numbers = _leaves(raw, field_names)
        shown_strings, shown_numbers = _leaves(shown_json or b"null", frozenset())
        shown = shown_strings.union(*map(_number_forms, shown_numbers))
        self._shown_text = "\0".join(shown_strings)
        self._numbers = {number for number in numbers if number.isdigit() and len(number) >= SHORTEST_NUMBER} - shown
        for forms in (_number_forms(number) for number in numbers if not number.isdigit()):
            if shown.isdisjoint(forms) and any(sum(map(str.isdigit, form)) >= SHORTEST_NUMBER for form in forms):
                self._numbers |= forms

        strings -= shown
        groups = list(islice(digit_groups(strings | (numbers - shown), shown_strings), _MOST_DIGIT_GROUPS + 1))
        if len(groups) > _MOST_DIGIT_GROUPS:
            raise TooCostly
        strings |= set(groups).union(*map(compact_forms, strings))
        strings |= {variant for string in strings for variant in value_variants(string)} - shown
        self._strings = {short if len(short := string.strip()) >= SHORTEST_STRING else string for string in strings}
        for string in strings:
            if "\n" in string:
                self._strings.update(line for part in string.splitlines() if len(line := part.strip()) >= SHORTEST_LINE)
        self._prefixes = {value[:PREFIX] for value in self._strings | self._numbers if len(value) >= PREFIX}

    def find(self, text: str, *, cut: bool) -> list[tuple[int, int]]:
        """Where in the text withheld values are, plain or encoded; `cut` says that the text's end is missing."""
        # Most texts hold no value's prefix: only of those that do is a search built.
        found = [(each, prefixes) for each in decodings(text, cut=cut) if (prefixes := self._prefixes_in(each.text))]
        if not found:
            return []
        prefixes = set[str]().union(*(each for _, each in found))
        strings = {string for string in self._strings if string[:PREFIX] in prefixes}
        numbers = {number for number in self._numbers if number[:PREFIX] in prefixes}
        search = Search(strings, numbers, self._shown_text)
        return [
            (decoding.offsets[0][first], decoding.offsets[1][after - 1])
            for decoding, _ in found
            for first, after in search.find(decoding)
        ]

    def _prefixes_in(self, text: str) -> set[str]:
        if len(self._prefixes) <= _FEW_PREFIXES:
            return {prefix for prefix in self._prefixes if prefix in text}
        return self._prefixes.intersection(text[at : at + PREFIX] for at in range(len(text) - PREFIX + 1))


def _leaves(raw: bytes, field_names: frozenset[str]) -> tuple[set[str], set[str]]:
    """A JSON text's strings, its undeclared keys among them, and its numbers as written, without their sign."""
    strings: set[str] = set()
    numbers: set[str] = set()
    pending: list[Iterable[Any]] = [[json.loads(raw, parse_int=_Number, parse_float=_Number)]]
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


def _number_forms(number: str) -> set[str]:
    """How Python and JSON may write a number."""
    if number.isdigit():
        return {number}
    value = float(number)
    return {number, repr(value), str(int(value)) if value.is_integer() else repr(value)}


def _without(text: str, spans: list[tuple[int, int]]) -> str:
    pieces: list[str] = []
    done = 0
    for first, after in sorted(spans):
        if first >= done:
            pieces += (text[done:first], HIDDEN)
        done = max(done, after)
    return "".join(pieces) + text[done:]
