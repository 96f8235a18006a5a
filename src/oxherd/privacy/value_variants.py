"""How Python writes dates, times, durations and UUIDs that JSON holds as text in another form."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from functools import cache
from typing import Final
from uuid import UUID

from pydantic import TypeAdapter

_LONGEST: Final = 48
_DATE: Final = r"\d{4}-\d\d-\d\d"
_TIME: Final = r"\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?"


def value_variants(text: str) -> Iterator[str]:
    """Other texts of a JSON text's value: its `str` and `repr` in Python, with and without a time zone."""
    if len(text) > _LONGEST:
        return
    for pattern, variants in _KINDS:
        if pattern.fullmatch(text):
            try:
                yield from variants(text)
            except ValueError:  # it only looks like one, as 2031-13-32 does
                return


def _arguments(value: date | time | timedelta) -> str:
    """A `repr` without the class's name, which depends on how the class was imported."""
    return repr(value).partition("(")[2][:-1]


def _date_variants(text: str) -> Iterator[str]:
    yield _arguments(date.fromisoformat(text))


def _datetime_variants(text: str) -> Iterator[str]:
    aware = datetime.fromisoformat(text)
    naive = aware.replace(tzinfo=None)
    whole = naive.replace(microsecond=0)
    yield from (_arguments(naive), _arguments(whole))
    for each in (aware, naive, whole):
        yield from (str(each), each.isoformat())


def _time_variants(text: str) -> Iterator[str]:
    naive = time.fromisoformat(text).replace(tzinfo=None)
    yield f"time({_arguments(naive)}"  # the arguments alone may be three short numbers
    yield str(naive)


def _duration_variants(text: str) -> Iterator[str]:
    duration = _duration_adapter().validate_python(text)
    yield from (str(duration), _arguments(duration))


def _uuid_variants(text: str) -> Iterator[str]:
    yield UUID(text).hex


@cache
def _duration_adapter() -> TypeAdapter[timedelta]:
    return TypeAdapter(timedelta)


_KINDS: Final[tuple[tuple[re.Pattern[str], Callable[[str], Iterator[str]]], ...]] = (
    (re.compile(_DATE), _date_variants),
    (re.compile(f"{_DATE}[T ]{_TIME}"), _datetime_variants),
    (re.compile(_TIME), _time_variants),
    (re.compile(r"[+-]?P[\dT.DHMSWY]+"), _duration_variants),
    (re.compile(r"[\da-fA-F]{8}(?:-[\da-fA-F]{4}){3}-[\da-fA-F]{12}"), _uuid_variants),
)
