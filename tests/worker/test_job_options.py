"""What a job's options say of its end, whoever wrote them: used as far as they can be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from oxherd import Oxherd, Retry
from oxherd.bullmq.job import Job
from oxherd.bullmq.options import parse_options
from oxherd.bullmq.queue import finish_options
from oxherd.signals import ErrorInfo
from oxherd.worker.job_options import attempts_of, failure_fields, keep_of, retry_delay_ms

DECLARATION = Oxherd().declare("order.placed", int, retry=Retry(attempts=3, delay=2, jitter=0)).declaration
CENTURY_MS = 100 * 366 * 86_400_000


def job(options: str = "{}", *, stacktrace: bytes = b"", made: int = 0) -> Job:
    return Job(
        "1", "token", "order.placed", b"1", parse_options(options.encode()), 0, made, 1, 0, None, None, stacktrace
    )


@pytest.mark.parametrize(
    ("option", "attempts"),
    [
        ("0", 3),
        ("-1", 3),
        ("null", 3),
        ("true", 3),
        ('"5"', 3),
        ("NaN", 3),
        ("5", 5),
        ("5.0", 5),
        ("9" * 400, 2**53 - 1),
    ],
)
def test_a_job_is_tried_as_often_as_it_says_or_else_as_its_event_says(option: str, attempts: int) -> None:
    assert attempts_of(job(f'{{"attempts": {option}}}'), DECLARATION) == attempts


@pytest.mark.parametrize(
    ("option", "delay"),
    [
        ("500", 500),
        ("-500", 0),
        ("1e400", CENTURY_MS),
        ("9" * 400, CENTURY_MS),
        ("NaN", 0),
        ("true", 0),
        ('"500"', 0),
        ('{"type": "fixed", "delay": 500}', 500),
        ('{"type": "exponential", "delay": 1e308}', CENTURY_MS),
        (f'{{"type": "exponential", "delay": {"9" * 400}}}', CENTURY_MS),
        ('{"type": "exponential", "delay": NaN}', 0),
        ('{"type": "fixed", "delay": 500, "jitter": NaN}', 0),
        ('{"type": ["fixed"], "delay": null}', 4000),
        ('{"type": "of its own", "delay": 500}', 4000),
        ('{"delay": 500}', 4000),
        ("null", 4000),
    ],
)
def test_a_wait_is_a_whole_number_of_milliseconds_and_no_longer_than_a_century(option: str, delay: int) -> None:
    assert retry_delay_ms(job(f'{{"backoff": {option}}}', made=1), DECLARATION) == delay


@pytest.mark.parametrize(
    ("option", "kept"),
    [
        ("true", {"count": 0}),
        ("false", {"count": -1}),
        ("7", {"count": 7}),
        ('{"count": 7.5, "age": 1e400}', {"count": 7, "age": 2**53 - 1}),
        (f'{{"count": {"9" * 400}}}', {"count": 2**53 - 1}),
        ('{"count": "seven"}', {"count": 0}),
        ('{"count": 7, "age": NaN}', {"count": 0}),
        ('"seven"', {"count": 0}),
        ("[7]", {"count": 0}),
    ],
)
def test_what_is_kept_is_numbers_that_redis_takes_or_else_as_the_event_says(option: str, kept: dict[str, int]) -> None:
    assert keep_of(job(f'{{"removeOnComplete": {option}}}'), DECLARATION, "completed") == kept


@pytest.mark.parametrize("value", ['"\\ud800"', "9" * 400, "[" * 600 + "]" * 600, "1"])
def test_options_about_a_parent_that_are_no_yes_or_no_are_a_no(value: str) -> None:
    damaged = job(f'{{"fpof": {value}, "idof": true}}')
    assert damaged.options.parent_policies == {"fpof": False, "cpof": False, "idof": True, "rdof": False}
    finish_options(damaged, keep={"count": 0}, attempts=1, lock_ms=1000)


@pytest.mark.parametrize(
    ("stored", "older"),
    [
        (b'["an older one"]', ["an older one"]),
        (b'["an older one", 3, ["x"], null]', ["an older one"]),
        (b'"text"', []),
        (b"\xff", []),
        (b"[" * 100_000, []),
        (b"[" * 900 + b"]" * 900, []),
    ],
)
def test_the_older_stack_traces_are_kept_as_far_as_they_can_be_read(stored: bytes, older: list[Any]) -> None:
    fields = failure_fields(job(stacktrace=stored), ErrorInfo("ValueError", "no", ["app.py:3 handler"]), "failed")
    assert fields[:3] == ["failedReason", "no", "stacktrace"]
    assert json.loads(fields[3]) == [*older, "ValueError: no\n    at app.py:3 handler"]
