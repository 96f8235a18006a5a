"""What JSON holds as text is found as Python writes it, too."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from oxherd.privacy.redaction import Redactor
from oxherd.privacy.value_variants import value_variants

ZONES = st.sampled_from([None, UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-3))])
VALUES: st.SearchStrategy[Any] = st.one_of(
    st.dates(),
    st.datetimes(timezones=ZONES),
    st.times(),
    st.timedeltas(),
    st.uuids(),
    st.decimals(allow_nan=False, allow_infinity=False, min_value=1000),
)


def scrubbed(text: str, value: Any) -> str:
    return Redactor(to_json({"a": value}), None, frozenset({"a"})).redact(text)


@given(VALUES)
def test_a_value_is_found_by_its_str_and_its_repr(value: Any) -> None:
    assert "***" in scrubbed(f"cannot use {value}, sorry", value)
    result = scrubbed(f"cannot use {value!r}, sorry", value)
    assert "***" in result or value == timedelta()


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        (date(1984, 7, 23), ["1984-07-23", "date(1984, 7, 23)"]),
        (
            datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC),
            [
                "2031-05-06 07:08:09+00:00",
                "2031-05-06T07:08:09+00:00",
                "2031-05-06 07:08:09",
                "2031-05-06T07:08:09.000Z",
            ],
        ),
        (
            datetime(2031, 5, 6, 7, 8, 9, 500),
            ["2031-05-06 07:08:09.000500", "2031-05-06 07:08:09", "2031, 5, 6, 7, 8, 9"],
        ),
        (time(7, 8, 9), ["07:08:09", "datetime.time(7, 8, 9)"]),
        (timedelta(days=1, seconds=3661), ["1 day, 1:01:01", "days=1, seconds=3661"]),
        (UUID(int=7 << 100), [str(UUID(int=7 << 100)), UUID(int=7 << 100).hex]),
        (Decimal("1234.50"), ["1234.50", "Decimal('1234.50')"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_nothing_of_it_is_left(value: Any, texts: list[str]) -> None:
    for text in texts:
        result = scrubbed(text, value)
        assert "***" in result
        assert not any(map(str.isdigit, result.replace(".000Z", "").replace("+00:00", ""))), (text, result)


@given(st.text() | st.from_regex(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?Z?)?|\d\d:\d\d|P[\dTDHMS]*", fullmatch=True))
def test_what_only_looks_like_one_is_no_other(text: str) -> None:
    for other in value_variants(text):
        assert isinstance(other, str)
