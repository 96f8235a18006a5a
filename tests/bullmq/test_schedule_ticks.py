"""The next tick of a schedule, told by a tick's own options, whoever wrote them: a time, an end, or a ScheduleError."""

from __future__ import annotations

import time

import pytest

from oxherd import OxherdError
from oxherd.bullmq.job import Job
from oxherd.bullmq.options import parse_options
from oxherd.bullmq.schedule_ticks import next_tick_ms
from oxherd.bullmq.schedulers import packed_tick

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
