"""The next tick of a schedule, told by a tick's own options, whoever wrote them: a time, an end, or a ScheduleError."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import msgpack
import pytest

from oxherd import Cron, OxherdError
from oxherd.bullmq.job import Job
from oxherd.bullmq.options import parse_options
from oxherd.bullmq.patterns import read_pattern
from oxherd.bullmq.schedule_ticks import next_tick_ms
from oxherd.bullmq.schedulers import packed_tick
from oxherd.errors import ScheduleError

unpack: Callable[[bytes], Any] = cast("Any", msgpack).unpackb
MINUTE_MS = 60_000


def tick(repeat: str, more: str = "", job_id: str = "repeat:nightly:1700000000000") -> Job:
    options = parse_options(f'{{"repeat": {repeat}{more}}}'.encode("utf-8", "surrogatepass"))
    return Job(job_id, "token", "order.placed", b"1", options, 0, 0, 1, 0, None, "nightly")


def in_ms(job: Job) -> int:
    upcoming = next_tick_ms(job)
    assert upcoming is not None
    return upcoming - int(time.time() * 1000)


@pytest.mark.parametrize(
    "repeat", ['{"pattern": "* * * * *"}', '{"every": 60000}', '{"every": 60000.0, "count": "x", "limit": NaN}']
)
@pytest.mark.parametrize("tick_id", ["repeat:nightly:1700000000000", "nightly", "1:²", "1:٣", "x:" + "9" * 5000, ""])
def test_the_next_tick_is_within_the_minute_whatever_the_job_is_called(repeat: str, tick_id: str) -> None:
    assert -1000 < in_ms(tick(repeat, job_id=tick_id)) <= MINUTE_MS


@pytest.mark.parametrize("repeat", ['{"every": 60000, "count": 5, "limit": 5}', '{"every": 60000, "endDate": 1.5e12}'])
def test_a_schedule_that_is_over_has_no_next_tick(repeat: str) -> None:
    assert next_tick_ms(tick(repeat)) is None


@pytest.mark.parametrize(
    "repeat",
    [
        "null", "[]", "{}", '{"every": 0}', '{"every": -1}', f'{{"every": {"9" * 400}}}', '{"every": 1e400}',
        '{"every": true}', '{"pattern": ["* * * * *"]}', '{"pattern": "* * * * *", "tz": "\\ud800"}',
        '{"pattern": "61 * * * *"}',
    ],
)  # fmt: skip
def test_a_schedule_that_is_none_is_refused(repeat: str) -> None:
    with pytest.raises(OxherdError):
        next_tick_ms(tick(repeat))


@pytest.mark.parametrize("more", ["9" * 400, '"\\ud800"'])
def test_options_that_cannot_be_carried_to_the_next_tick_are_refused(more: str) -> None:
    job = tick('{"every": 60000}', f', "more": {more}')
    with pytest.raises(OxherdError, match="schedule it again"):
        packed_tick(job, 1)


@pytest.mark.parametrize("count", ["1", "NaN", "9" * 400, '"1"', "null"])
def test_the_count_of_ticks_goes_on_from_what_can_be_counted(count: str) -> None:
    assert packed_tick(tick(f'{{"every": 60000, "count": {count}}}'), 1)


@pytest.mark.parametrize(
    ("pattern", "same"),
    [
        ("0 2 ? * MON", "0 2 * * 1"), ("0 0 2 1 * ?", "0 2 1 * *"), ("@minutely", "* * * * *"),
        ("@weekdays", "0 0 * * 1-5"), ("5", "* * * * 5"), ("30 2", None), ("", None), ("@never", None),
        ("0 0 LW * *", "0 0 LW * *"), ("0 9 * * 1#2", "0 9 * * MON#2"), ("0 9 * jan mon-fri", "0 9 * 1 1-5"),
        ("0 0 30 2 *", None), ("0 0 15W * *", None), ("* * * * * * *", None), ("0 " * 500, None),
    ],
)  # fmt: skip
def test_a_pattern_is_read_as_node_reads_it(pattern: str, same: str | None) -> None:
    if same is None:
        with pytest.raises(ScheduleError):
            read_pattern(pattern, "UTC", "nightly")
    else:
        start = datetime(2026, 11, 29, tzinfo=UTC)
        assert read_pattern(pattern, "utc", "nightly").next(start) == Cron(same).next(start)


@pytest.mark.parametrize(
    "pattern",
    ["H H * * *", "H H H * * *", "H/15 * * * *", "H(0-29) H(9-16)/2 * * *", "0 0 H * *", "0 0 * H H", "H(5-3) * * * *"],
)
def test_an_h_in_a_pattern_is_the_same_value_each_time_and_another_for_another_schedule(pattern: str) -> None:
    one = read_pattern(pattern, "Europe/Paris", "nightly")
    assert one == read_pattern(pattern, "europe/paris", "nightly")
    others = {read_pattern(pattern, "UTC", f"schedule {number}").expression for number in range(50)}
    assert len(others) > 1 or "(5-3)" in pattern


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def test_no_tick_of_a_pattern_comes_after_its_end_or_before_its_start() -> None:
    now = int(time.time() * 1000)
    assert next_tick_ms(tick(f'{{"pattern": "0 0 1 1 *", "endDate": {now + 1000}}}')) is None
    upcoming = next_tick_ms(tick(f'{{"pattern": "* * * * *", "endDate": {now + MINUTE_MS}}}'))
    assert upcoming is not None
    assert upcoming <= now + MINUTE_MS
    start = ms("2090-01-01T00:00:30+00:00")
    assert next_tick_ms(tick(f'{{"pattern": "* * * * *", "startDate": {start}}}')) == start + 30_000
    assert next_tick_ms(tick(f'{{"pattern": "* * * * *", "endDate": {now + MINUTE_MS}, "limit": 3}}')) == upcoming


@pytest.mark.parametrize("start", ["9e15", "9" * 400, "253402300799000"])
def test_a_start_beyond_the_calendar_is_refused(start: str) -> None:
    with pytest.raises(ScheduleError):
        next_tick_ms(tick(f'{{"pattern": "* * * * *", "startDate": {start}}}'))


@pytest.mark.parametrize(
    ("more", "late"),
    [
        ("", False),
        (', "ox:missed": "none"', False),
        (', "ox:missed": "all"', True),
        (', "ox:missed": "all", "ox:made-up": 999', True),
        (', "ox:missed": "all", "ox:made-up": 1000', False),
        (', "ox:missed": "all", "ox:made-up": "x"', True),
    ],
)
def test_each_tick_that_was_missed_is_made_up_for_where_a_schedule_says_so_up_to_a_thousand(
    more: str, late: bool
) -> None:
    job = tick('{"every": 60000}', more)
    upcoming = next_tick_ms(job)
    assert upcoming is not None
    assert (upcoming == 1_700_000_040_000) == late
    options = unpack(packed_tick(job, upcoming))
    assert options.get("ox:made-up", 0) == (0 if not late else 1000 if "999" in more else 1)
