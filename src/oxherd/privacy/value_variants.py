"""How Python writes the dates, times, durations and UUIDs that stand in JSON as texts: not as they stand there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from functools import cache
from typing import Any, Final
from uuid import UUID

from pydantic import TypeAdapter

_LONGEST: Final = 48
_DATE: Final = r"\d{4}-\d\d-\d\d"
_TIME: Final = r"\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?"


def spellings(text: str) -> Iterator[str]:
    """Further texts of a JSON text's value in Python: `str` and `repr`, each with the zone and without."""
    if len(text) > _LONGEST:
        return
    for pattern, spell in _KINDS:
        if pattern.fullmatch(text):
            try:
                yield from spell(text)
            except ValueError:  # it only looks like one, as 2031-13-32 does
                return


def _arguments(value: date | time | timedelta) -> str:
    """What a `repr` holds in its brackets: its name depends on how it was imported."""
    return repr(value).partition("(")[2][:-1]


def _of_date(text: str) -> Iterator[str]:
    yield _arguments(date.fromisoformat(text))


def _of_moment(text: str) -> Iterator[str]:
    moment = datetime.fromisoformat(text)
    plain = moment.replace(tzinfo=None)
    whole = plain.replace(microsecond=0)
    yield from (_arguments(plain), _arguments(whole))
    for each in (moment, plain, whole):
        yield from (str(each), each.isoformat())


def _of_time(text: str) -> Iterator[str]:
    plain = time.fromisoformat(text).replace(tzinfo=None)
    yield f"time({_arguments(plain)}"  # alone it may be three short numbers
    yield str(plain)


def _of_duration(text: str) -> Iterator[str]:
    duration = _durations().validate_python(text)
    yield str(duration)
    yield _arguments(duration)


def _of_uuid(text: str) -> Iterator[str]:
    yield UUID(text).hex


@cache
def _durations() -> TypeAdapter[timedelta]:
    return TypeAdapter(timedelta)


_KINDS: Final[tuple[tuple[re.Pattern[str], Callable[[str], Iterator[Any]]], ...]] = (
    (re.compile(_DATE), _of_date),
    (re.compile(f"{_DATE}[T ]{_TIME}"), _of_moment),
    (re.compile(_TIME), _of_time),
    (re.compile(r"[+-]?P[\dT.DHMSWY]+"), _of_duration),
    (re.compile(r"[\da-fA-F]{8}(?:-[\da-fA-F]{4}){3}-[\da-fA-F]{12}"), _of_uuid),
)
