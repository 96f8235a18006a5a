"""What a selection takes, and what it refuses with a sentence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from oxherd import Oxherd, UnknownEvent, UsageError
from oxherd.admin.selection import selected
from oxherd.testing import captured

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def herd() -> Oxherd:
    herd = Oxherd("redis://127.0.0.1:1")
    herd.declare("order.placed", int)
    return herd


@pytest.mark.parametrize(
    ("given", "expected"),
    [(60, NOW - timedelta(minutes=1)), (timedelta(hours=2), NOW - timedelta(hours=2)), (NOW, NOW), (0.5, None)],
)
def test_a_time_is_a_moment_or_how_long_ago(given: Any, expected: datetime | None) -> None:
    expected = expected or NOW - timedelta(seconds=0.5)
    assert selected(None, "failed", None, NOW, since=given).since_ms == expected.timestamp() * 1000


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"state": "lost"}, "state is one of waiting, delayed, running, waiting_children, completed, failed."),
        ({"since": datetime(2026, 3, 1)}, "since needs a time zone"),
        ({"until": "yesterday"}, "until is an aware datetime, or how long ago"),
        ({"since": float("nan")}, "since is an aware datetime"),
        ({"since": 1e300}, "since is an aware datetime"),
        ({"error": ""}, "error is a text of 1 to 1000 characters"),
        ({"error": 7}, "error is a text"),
        ({"error_type": "x" * 1001}, "error_type is a text"),
        ({"error_type": "\ud83d"}, "error_type has half of a surrogate pair"),
        ({"limit": 0}, "limit is a whole number"),
        ({"limit": True}, "limit is a whole number"),
    ],
    ids=str,
)
def test_what_cannot_be_looked_for_is_refused(herd: Oxherd, options: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        herd.admin.find("order.placed", **options)


def test_nothing_is_acted_on_without_a_selection(herd: Oxherd) -> None:
    admin = herd.admin
    for call in (admin.retry, admin.discard, admin.cancel, admin.promote):
        with pytest.raises(UsageError, match="needs a selection: an event, ids or a filter"):
            call()
    admin.retry(everything=True)
    admin.retry("order.placed")
    admin.retry(error="no stock")


def test_ids_stand_for_themselves(herd: Oxherd) -> None:
    with pytest.raises(UsageError, match="not both"):
        herd.admin.retry(ids=["00000000-0000-7000-8000-000000000000"], error="no stock")
    with pytest.raises(UsageError, match="An event's id is a UUID"):
        herd.admin.retry(ids=["4711"])


def test_an_event_that_is_not_declared_is_refused_with_the_nearest(herd: Oxherd) -> None:
    with pytest.raises(UnknownEvent, match=r"order\.placed"):
        herd.admin.find("order.place")
    with pytest.raises(UnknownEvent):
        herd.admin.move("{old}", "order.place")


def test_what_runs_is_not_discarded(herd: Oxherd) -> None:
    with pytest.raises(UsageError, match="cancel it"):
        herd.admin.discard("order.placed", state="running")


def test_a_queue_that_an_event_has_is_not_moved(herd: Oxherd) -> None:
    for queue in ("{order.placed}", "{order.placed/1.7}"):
        with pytest.raises(UsageError, match="is an event's"):
            herd.admin.move(queue, "order.placed")
    with pytest.raises(UsageError, match="a queue's name"):
        herd.admin.move("a:b", "order.placed")


async def test_while_a_test_keeps_the_emits_nothing_is_asked_of_a_server(herd: Oxherd) -> None:
    with captured(herd):
        with pytest.raises(UsageError, match="needs a server"):
            await herd.admin.events()
        with pytest.raises(UsageError, match="needs a server"):
            await herd.admin.find().all()
