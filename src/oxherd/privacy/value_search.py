"""Searches a text for withheld values, at bounded cost: a payload made to be slow must not hold up the worker."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

from oxherd.privacy.decodings import Decoding

PREFIX: Final = 4  # characters by which values are looked up; shorter values are not found
# Python's own errors quote 200 characters of a value (`int("...")`), other code as many as it likes.
SHORTEST_BEGINNING: Final = 32

# Comparisons in one text.
_BUDGET: Final = 100_000
# Characters of the shown JSON that are searched for withheld values.
_SHOWN_BUDGET: Final = 10_000_000


class TooCostly(Exception):
    """The search would take too long."""


class Search:
    """Finds strings and numbers in one text's decodings, unless a string is part of what is shown.

    A value is found whole, by a beginning of 32 characters or more, or where the text was cut within it.
    """

    def __init__(self, strings: set[str], numbers: set[str], shown_text: str) -> None:
        self._numbers = numbers
        self._values = strings | numbers
        self._shown_text = shown_text
        self._by_prefix: dict[str, list[str]] = {}
        for value in sorted(self._values):
            if len(value) >= PREFIX:
                self._by_prefix.setdefault(value[:PREFIX], []).append(value)
        self._sizes = {
            prefix: sorted({len(value) for value in values}, reverse=True) for prefix, values in self._by_prefix.items()
        }
        self._budget = _BUDGET
        self._shown_budget = _SHOWN_BUDGET

    def find(self, decoding: Decoding) -> Iterator[tuple[int, int]]:
        """Where values are in the decoded text; spans may overlap. Raises TooCostly."""
        text, sizes = decoding.text, self._sizes
        covered = 0
        for first in [at for at in range(len(text) - PREFIX + 1) if text[at : at + PREFIX] in sizes]:
            after = self._end_if_cut(decoding, first, covered) or max(
                self._end_of_whole(text, first, covered), self._end_of_beginning(text, first, covered)
            )
            if after > covered:
                covered = after
                yield first, after

    def _end_of_whole(self, text: str, first: int, covered: int) -> int:
        """The end of the longest value at `first` that goes past `covered`, or 0."""
        for size in self._sizes[text[first : first + PREFIX]]:
            if first + size <= covered:
                break
            if first + size > len(text):
                continue
            self._spend(1 + size // 1_000)
            value = text[first : first + size]
            if value in self._values and not self._is_shown(value):
                return first + size
        return 0

    def _end_of_beginning(self, text: str, first: int, covered: int) -> int:
        """The end of a long beginning of a value at `first`, or 0."""
        beginning = text[first : first + SHORTEST_BEGINNING]
        if first < covered or len(beginning) < SHORTEST_BEGINNING:
            return 0
        self._spend(1)
        prefix = beginning[:PREFIX]
        values = self._by_prefix[prefix]
        at = bisect_left(values, beginning)
        if at == len(values) or not values[at].startswith(beginning):
            return 0
        rest = text[first : first + self._sizes[prefix][0]]
        self._spend(1 + len(rest) // 1_000)
        at = bisect_left(values, rest)
        size = max(_common_prefix(value, rest) for value in values[max(at - 1, 0) : at + 1])
        return 0 if self._is_shown(rest[:size]) else first + size

    def _end_if_cut(self, decoding: Decoding, first: int, covered: int) -> int:
        """Where the text was cut, if it may have been within a value at `first`, or 0."""
        cut = next((end for end in decoding.cuts if end > first), None)
        prefix = decoding.text[first : first + PREFIX]
        if cut is None or cut <= covered or first + self._sizes[prefix][0] <= cut:
            return 0
        rest = decoding.text[first:cut]
        values = self._by_prefix[prefix]
        self._spend(1 + len(rest) // 1_000)
        for at in range(bisect_left(values, rest), len(values)):
            if not values[at].startswith(rest):
                break
            self._spend(1)
            if not self._is_shown(values[at]):
                return cut
        return 0

    def _spend(self, cost: int) -> None:
        self._budget -= cost
        if self._budget < 0:
            raise TooCostly

    def _is_shown(self, value: str) -> bool:
        """Whether a string is part of a shown one; no, once finding out has cost too much."""
        self._shown_budget -= len(self._shown_text)
        if value in self._numbers or self._shown_budget < 0:
            return False
        return value in self._shown_text


def _common_prefix(one: str, other: str) -> int:
    """The length of the longest common prefix."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
