"""Finds canaries in a text, in each of the forms in which logs and errors are searched for what is withheld."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from oxherd.privacy.written_forms import forms, readings, words
from oxherd.testing.canaries import Canary

_AROUND: Final = 60


class Search:
    """Searches texts for canaries."""

    def __init__(self, canaries: Iterable[Canary]) -> None:
        self._needles = [(canary, {words(form) for form in forms(canary.core)}) for canary in canaries]

    def find(self, text: str) -> Iterator[tuple[Canary, str]]:
        """Each canary found in the text, with the surrounding text."""
        read = [(offsets, "".join([text[offset] for offset in offsets])) for offsets in readings(text)]
        for canary, needles in self._needles:
            found = (
                (offsets[at], offsets[at + len(needle) - 1] + 1)
                for offsets, only_words in read
                for needle in needles
                if (at := only_words.find(needle)) >= 0
            )
            if (span := next(found, None)) is not None:
                yield canary, _around(text, *span)


def _around(text: str, first: int, after: int) -> str:
    first, after = max(0, first - _AROUND), after + _AROUND
    shown = " ".join(text[first:after].split())
    return f"{'...' if first else ''}{shown}{'...' if after < len(text) else ''}"
