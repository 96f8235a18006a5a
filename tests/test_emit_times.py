"""`delay=`, `at=` and `expires=`: what they make of an emit, and the sentences that refuse what cannot be."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from oxherd import Oxherd, UsageError
from oxherd.producer.emit_times import Times, times_of

HERD = Oxherd()
PLAIN = HERD.declare("order.placed", int).declaration
EXPIRING = HERD.declare("code.wanted", int, expires=timedelta(minutes=1)).declaration


def times(declaration: Any = PLAIN, *, delay: Any = None, at: Any = None, expires: Any = None) -> Times:
    return times_of(declaration, delay, at, expires)


def test_a_moment_is_a_delay_from_now_in_whatever_zone_it_is_given() -> None:
    moment = datetime.now(UTC) + timedelta(hours=1)
    for zone in (UTC, ZoneInfo("Europe/Paris"), timezone(timedelta(hours=-12))):
        found = times(at=moment.astimezone(zone))
        assert 3_599_000 < found.delay_ms <= 3_600_001
        assert found.due_ms == -(-round(moment.timestamp() * 1_000_000) // 1000)


def test_a_moment_is_rounded_up_so_that_no_event_is_early() -> None:
    base = datetime(2050, 1, 1, tzinfo=UTC)
    whole = times(at=base).due_ms
    assert [times(at=base + timedelta(microseconds=n)).due_ms - whole for n in (0, 1, 999, 1000)] == [0, 1, 1, 1]


@pytest.mark.parametrize(
    "at",
    [datetime(1999, 1, 1, tzinfo=UTC), datetime.now(UTC), datetime.min.replace(tzinfo=UTC)],
    ids=["past", "now", "min"],
)
def test_a_moment_that_is_past_is_now(at: datetime) -> None:
    assert times(at=at).delay_ms == 0
    assert times(at=at, expires=1).delay_ms == 0


@pytest.mark.parametrize("at", [datetime(2030, 1, 1), date(2030, 1, 1), "2030-01-01T09:00:00Z", 1.5, 5, True], ids=repr)
def test_what_is_no_moment_is_refused_with_what_to_write(at: Any) -> None:
    with pytest.raises(UsageError) as caught:
        times(at=at)
    assert str(caught.value) == (
        "order.placed: at must be a datetime with a time zone, such as "
        'datetime(2030, 1, 31, 9, 0, tzinfo=ZoneInfo("Europe/Paris")) or datetime.now(UTC) + timedelta(hours=1).'
    )


@pytest.mark.parametrize(
    ("declaration", "given", "told"),
    [
        (
            PLAIN,
            {"at": datetime.now(UTC), "delay": 0},
            "delay and at both say when the event is due; give one of them.",
        ),
        (PLAIN, {"at": datetime(2999, 1, 1, tzinfo=UTC)}, "at must be within a century from now."),
        (PLAIN, {"delay": datetime.now(UTC)}, "delay is a duration, not a moment: give the moment as at=."),
        (PLAIN, {"delay": 60, "expires": 60}, "it would expire 60 s after its emit, before it is due; "),
        (EXPIRING, {"delay": 3600}, "it would expire 60 s after its emit, before it is due; "),
        (EXPIRING, {"at": datetime.now(UTC) + timedelta(hours=1)}, "it would expire 60 s after its emit, "),
        (PLAIN, {"expires": 0.0001}, "expires must be a number of seconds or a timedelta of at least 0.001."),
        (PLAIN, {"expires": datetime.now(UTC)}, "expires is a duration, not a moment: give a number of seconds or a "),
    ],
)
def test_times_that_contradict_each_other_are_refused(declaration: Any, given: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        times(declaration, **given)
    assert str(caught.value).startswith(f"{declaration.name}: {told}")


def test_an_emit_says_otherwise_than_its_event_and_nothing_of_it_stays() -> None:
    assert times(EXPIRING).options["ox:expires"] == 60_000
    assert times(EXPIRING, expires=5).options["ox:expires"] == 5_000
    assert "ox:expires" not in times(EXPIRING, expires=0, delay=3600).options
    assert "ox:expires" not in times(PLAIN).options
    assert times(PLAIN, expires=0.0015).options["ox:expires"] == 2


def test_emits_with_the_same_expiry_share_their_options_so_that_they_are_sent_together() -> None:
    assert times(PLAIN, expires=5).options is times(PLAIN, expires=timedelta(seconds=5)).options
    assert times(EXPIRING, expires=60).options is EXPIRING.options
    for seconds in range(1, 1_000):
        assert times(PLAIN, expires=seconds).options["ox:expires"] == seconds * 1000
