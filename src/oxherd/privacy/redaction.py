"""Redacts from texts what is withheld of a payload.

A value is looked for by its letters and digits alone, so that a line break, an indent, quotes, or other grouping of
digits within it do not hide it. A short one must also be written the same, lest "Anna" be found in "an name".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from posixpath import commonprefix
from typing import Final, NamedTuple
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from oxherd.payload.paths import JSONPath
from oxherd.privacy.budget import Budget, TooCostly
from oxherd.privacy.masks import HIDDEN
from oxherd.privacy.written_forms import (
    SHORTEST_NUMBER,
    Number,
    cost,
    forms,
    is_long,
    parse,
    parts_at,
    readings,
    texts_in,
    words,
)

WITHHELD: Final = "<withheld>"
UNREADABLE: Final = "<withheld: the payload could not be read>"
LONGEST_TEXT: Final = 8_000
# A value that begins before the cut is still found beyond it, also if each character is written as `\u00e9`.
_BEYOND_CUT: Final = 256

# Of reading one payload: up to 60 ms for one of a mebibyte, or of some ten thousand values.
_READING_STEPS: Final = 100_000

_PREFIX: Final = 4
# A longer value is found by its beginning, since whoever quotes it may cut it: Python's own errors after 200.
_BEGINNING: Final = 32
# From so many letters and digits on, a value is not found by chance in a text that is written otherwise.
_DISTINCTIVE: Final = 12
_MOST_ALIKE: Final = 8
# A longer value counts as shown only where the log shows it as it is.
_LONGEST_SHOWN: Final = 256

# pydantic quotes a value with its middle cut out. The value may hold any text: it ends at the last `input_type` before
# the next error's value, or where the text was cut.
_PYDANTIC_INPUT: Final = re.compile(
    r"(?s)(input_value=)(?:(?:(?!input_value=).)*(?=, input_type=)|(?:(?!input_value=).)*)"
)


class Privacy(NamedTuple):
    """What an event declares of its payloads: its type's field names, whether a sanitiser or masks say what the log
    shows, and which paths are sealed, if any."""

    field_names: frozenset[str]
    declared: bool
    sealed: Callable[[JSONPath], bool] | None


class Redactor:
    """Replaces by `***` what is withheld of one payload, which it reads when it is first used.

    Args:
        raw: the payload's JSON.
        shown: the JSON of what the log shows of it.
        field_names: those of its type, which are no data.
        selects: the paths of what may be withheld; None: everything.
    """

    def __init__(
        self,
        raw: bytes,
        shown: bytes | None,
        field_names: frozenset[str],
        selects: Callable[[JSONPath], bool] | None = None,
    ) -> None:
        self._source = (raw, shown, field_names, selects)
        self._withheld: _Withheld | str | None = None

    def redact(self, text: str, budget: Budget | None = None) -> str:
        """The first 8,000 characters of a text, without withheld values; a fixed text if that cannot be ensured."""
        if self._withheld is None:
            try:
                self._withheld = _Withheld(*self._source)
            except TooCostly:
                self._withheld = WITHHELD
            except (ValueError, RecursionError):
                self._withheld = UNREADABLE
        if isinstance(self._withheld, str):
            return self._withheld
        cut = text[: LONGEST_TEXT + _BEYOND_CUT]
        if "input_value" in cut:
            cut = _PYDANTIC_INPUT.sub(rf"\1{HIDDEN}", cut)
        try:
            spans = sorted(self._withheld.find(cut, budget or Budget()))
        except TooCostly:
            return WITHHELD
        return _without(cut[:LONGEST_TEXT], spans) + ("..." if len(text) > LONGEST_TEXT else "")


class _Withheld:
    """The withheld values of a payload, ready to be looked for."""

    def __init__(
        self, raw: bytes, shown: bytes | None, names: frozenset[str], selects: Callable[[JSONPath], bool] | None
    ) -> None:
        budget = Budget(_READING_STEPS)
        value = parse(raw, budget)
        parts = value if selects is None else list(parts_at(value, selects))
        seen = texts_in(parse(shown or b"null", budget), frozenset(), budget)
        shown_texts = [text for text in seen if not isinstance(text, Number)]
        self._shown_text = "\0".join([*shown_texts, *map(words, shown_texts)])
        self._by_words = _Index()
        self._as_it_is = _Index()
        for text in filter(is_long, texts_in(parts, names, budget) - seen):
            beginning = _beginning(text)
            budget.spend(cost(beginning))
            for form in forms(beginning):
                if not self._by_words.add(words(form), text):
                    plain = form.strip() if len(form.strip()) >= _PREFIX else form
                    for written in {plain, quote(plain, errors="replace"), quote_plus(plain, errors="replace")}:
                        self._as_it_is.add(written, text)

    def find(self, text: str, budget: Budget) -> Iterator[tuple[int, int]]:
        """Where in the text values are; spans may overlap."""
        for offsets in readings(text):
            yield from self._find_words(text, offsets, budget)
        covered = 0
        for first, after, values in self._as_it_is.find(text, budget):
            if after > covered and self._is_hidden(values, budget):
                alike = [commonprefix((value.strip(), text[first:])) for value in values[:_MOST_ALIKE]]
                budget.spend(sum(map(len, alike)))
                covered = max(after, first + max(map(len, alike)))
                yield first, covered

    def _find_words(self, text: str, offsets: Sequence[int], budget: Budget) -> Iterator[tuple[int, int]]:
        budget.spend(len(text))
        only_words = "".join([text[offset] for offset in offsets])
        covered = 0
        for first, after, values in self._by_words.find(only_words, budget):
            written = text[offsets[first] : offsets[after - 1] + 1]
            if (
                after > covered
                and _is_same(written, only_words[first:after], values, budget)
                and self._is_hidden(values, budget)
            ):
                covered = _end(only_words, first, after, values, budget)
                yield offsets[first], offsets[covered - 1] + 1

    def _is_hidden(self, values: list[str], budget: Budget) -> bool:
        budget.spend(len(values) + len(self._shown_text) // 100)
        return any(isinstance(value, Number) or not self._is_shown(value) for value in values)

    def _is_shown(self, value: str) -> bool:
        if value in self._shown_text:
            return True
        written = words(value) if len(value) <= _LONGEST_SHOWN else ""
        return len(written) >= _PREFIX and written in self._shown_text


class _Index:
    """Values by the beginnings of what is looked for."""

    def __init__(self) -> None:
        self._values: dict[str, list[str]] = {}
        self._sizes: dict[str, list[int]] = {}

    def add(self, form: str, value: str) -> bool:
        """Add a value, unless what is looked for is too short."""
        key = form[:_BEGINNING]
        if len(key) < _PREFIX:
            return False
        self._values.setdefault(key, []).append(value)
        sizes = self._sizes.setdefault(key[:_PREFIX], [])
        if len(key) not in sizes:
            sizes.append(len(key))
            sizes.sort(reverse=True)
        return True

    def find(self, text: str, budget: Budget) -> Iterator[tuple[int, int, list[str]]]:
        """Where values may begin in a text, and which; the longest first."""
        if not self._sizes:
            return
        for first in [at for at in range(len(text) - _PREFIX + 1) if text[at : at + _PREFIX] in self._sizes]:
            sizes = self._sizes[text[first : first + _PREFIX]]
            budget.spend(2 * len(sizes))
            for size in sizes:
                values = self._values.get(text[first : first + size]) if first + size <= len(text) else None
                if values is not None:
                    yield first, first + size, values


def _beginning(text: str) -> str:
    """As much of a value as has enough letters and digits to find it by."""
    beginning = text[: 2 * _BEGINNING]
    if len(beginning) < len(text) and len(words(beginning)) < _BEGINNING:
        beginning = text[:LONGEST_TEXT]
        offsets = next(readings(beginning))
        if len(offsets) > _BEGINNING:
            beginning = beginning[: offsets[_BEGINNING] + 1]
    return beginning


def _is_same(written: str, key: str, values: list[str], budget: Budget) -> bool:
    """Whether what has a value's letters and digits is that value: as it is, wrapped, or in other groups."""
    if len(key) >= _DISTINCTIVE or (len(key) >= SHORTEST_NUMBER and key.isdigit()) or len(values) > _MOST_ALIKE:
        return True
    if any(line_break in written for line_break in ("\n", "\r", "\\n", "\\r")):
        return True
    if written == key:
        return True
    budget.spend(sum(map(cost, values)))
    texts = [
        text.replace("\\", "") for text in (written, unquote(written), unquote_plus(written), _standard_base64(written))
    ]
    plain = [form.replace("\\", "") for value in values for form in forms(value)]
    return any(text in form for text in texts for form in plain)


def _standard_base64(text: str) -> str:
    return text.replace("-", "+").replace("_", "/")


def _end(text: str, first: int, after: int, values: list[str], budget: Budget) -> int:
    """Where the longest of the values ends, or differs from the text."""
    if after - first < _BEGINNING:
        return after
    if len(values) > _MOST_ALIKE:
        return len(text)
    rest = text[first:]
    beginnings = [value[: 4 * len(rest)] for value in values]
    budget.spend(len(values) * len(text) + sum(map(cost, beginnings)))
    whole = [words(form) for value in beginnings for form in forms(value)]
    return first + max(len(commonprefix((form[: len(rest)], rest))) for form in whole)


def _without(text: str, spans: list[tuple[int, int]]) -> str:
    pieces: list[str] = []
    done = 0
    for first, after in spans:
        if done <= first < len(text):
            pieces += (text[done:first], HIDDEN)
        done = max(done, after)
    return "".join(pieces) + text[done:]
