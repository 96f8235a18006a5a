"""Values of options that cannot work are refused where they are given: by the declaration, the policy or the emit."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from operator import attrgetter
from typing import Any
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

import pytest

from oxherd import Cron, Every, Keep, Oxherd, Retry, ScheduleError, UsageError
from oxherd.declaration import declare
from oxherd.producer.emit_options import new_jobs

CENTURY = 36_525 * 86_400
NOW = datetime.now(UTC)
NO_NUMBERS: list[Any] = ["5", b"5", [], {}, object(), math.nan, True, False, Decimal(5), datetime.now(UTC)]
NO_DURATIONS: list[Any] = [
    *NO_NUMBERS,
    -1,
    -0.001,
    1e300,
    math.inf,
    -math.inf,
    2**70,
    10**400,
    CENTURY + 1,
    timedelta.max,
    timedelta.min,
]
NO_COUNTS: list[Any] = [*NO_NUMBERS, -1, 1.0, 1.5, math.inf, 2**70, 10**400, 1_000_000_001, timedelta(1)]


class AsyncCall:
    async def __call__(self, payload: Any) -> str:
        return str(payload)


NO_FUNCTIONS: list[Any] = [lambda: "a", isinstance, AsyncCall(), AsyncCall().__call__]
NO_ERROR_CLASSES: list[Any] = [
    *NO_NUMBERS,
    "OSError",
    OSError(),
    int,
    (),
    (OSError, "a"),
    BaseException,
    ExceptionGroup,
]


def declared(**options: Any) -> Any:
    return declare("order.placed", int, options, "bull")  # pyright: ignore[reportArgumentType]


def emitted(**options: Any) -> Any:
    event_id = options.pop("id", UUID(int=1))
    return new_jobs(declared(), [(event_id, 5)], options)  # pyright: ignore[reportArgumentType]


def sanitized(function: Any) -> Any:
    @Oxherd().event("order.placed", sanitize=function)
    async def order_placed(order: int) -> None: ...

    return order_placed


# What takes a value, the values that it takes beside the usual, and those that it refuses beside the usual.
DURATIONS: dict[str, tuple[Callable[[Any], Any], list[Any], list[Any]]] = {
    "timeout": (lambda value: declared(timeout=value), [0.001, None], [0, 0.0009]),
    "lock": (lambda value: declared(lock=value), [0.1], [0, 0.09, None]),
    "once": (lambda value: declared(once=value), [0, None], []),
    "expires": (lambda value: declared(expires=value), [0, 0.001, None], [0.0009, timedelta(microseconds=1)]),
    "emit's expires": (lambda value: emitted(expires=value), [0, 0.001, None], [0.0009, timedelta(microseconds=1)]),
    "Retry.delay": (lambda value: Retry(delay=value), [0], [None]),
    "Retry.max_delay": (lambda value: Retry(max_delay=value), [0], [None]),
    "Keep.completed_for": (lambda value: Keep(completed_for=value), [0, None], []),
    "Keep.failed_for": (lambda value: Keep(failed_for=value), [0, None], []),
    "emit_timeout": (lambda value: Oxherd(emit_timeout=value), [0.001], [0, None]),
    "stop_timeout": (lambda value: Oxherd(stop_timeout=value), [0], [None]),
    "delay": (lambda value: emitted(delay=value), [0, None], []),
    "emit's once": (lambda value: emitted(once=value), [0, None], []),
}
COUNTS: dict[str, tuple[Callable[[Any], Any], list[Any], list[Any]]] = {
    "concurrency": (lambda value: declared(concurrency=value), [], [0, None]),
    "max_stalls": (lambda value: declared(max_stalls=value), [0], [None]),
    "max_payload": (lambda value: declared(max_payload=value), [512 << 20], [0, None, (512 << 20) + 1]),
    "shards": (lambda value: declared(shards=value), [1024], [0, None, 1025]),
    "Retry.attempts": (lambda value: Retry(attempts=value), [10**9], [0, None]),
    "Keep.completed": (lambda value: Keep(completed=value), [0, 10**9, None], []),
    "Keep.failed": (lambda value: Keep(failed=value), [0, 10**9, None], []),
    "priority": (lambda value: emitted(priority=value), [0, 2_097_151], [None, 2_097_152]),
}
OTHERS: dict[str, tuple[Callable[[Any], Any], list[Any], list[Any]]] = {
    "Retry.jitter": (lambda value: Retry(jitter=value), [0, 1, 0.5], [*NO_NUMBERS, -0.1, 1.1, math.inf]),
    "Retry.backoff": (
        lambda value: Retry(backoff=value),
        ["fixed", pow],
        [*NO_NUMBERS, None, "linear", NO_FUNCTIONS[0], timedelta],
    ),
    "Retry.on": (lambda value: Retry(on=value), [OSError, (OSError, ValueError), None], NO_ERROR_CLASSES),
    "Retry.never": (lambda value: Retry(never=value), [OSError, (OSError,), None], NO_ERROR_CLASSES),
    "retry": (lambda value: declared(retry=value), [Retry()], [*NO_NUMBERS, None, 5, Retry, Keep()]),
    "keep": (lambda value: declared(keep=value), [Keep()], [*NO_NUMBERS, None, 5, Keep, Retry()]),
    "ordered": (lambda value: declared(ordered=value), [True, False], ["yes", 1, 0, None, math.nan]),
    "durable": (lambda value: declared(durable=value), [True, False], ["yes", 1, 0, None]),
    "emit's durable": (lambda value: emitted(durable=value), [True, None], ["yes", 1, 0]),
    "batched": (lambda value: Oxherd(batched=value), [True, False], ["yes", 1, 0, None]),
    "prefix": (lambda value: Oxherd(prefix=value), ["a", "ü"], [5, None, "", b"a", "a" * 257, "a\ud800"]),
    "url": (lambda value: Oxherd(value), ["redis://127.0.0.1", None], [5, b"redis://127.0.0.1", True]),
    "queue": (lambda value: declared(queue=value), ["{a}", None], [5, "", "a:b", b"a", True, "a\ud800"]),
    "key": (lambda value: declared(key=value), [str, attrgetter("real"), None], [5, "id", True, *NO_FUNCTIONS]),
    "sanitize": (sanitized, [str, attrgetter("real"), None], [5, "id", True, *NO_FUNCTIONS]),
    "seal": (lambda value: declared(seal=value), [None], [5, "key", b"k" * 32, True]),
    "at": (
        lambda value: emitted(at=value),
        [
            NOW,
            datetime(1970, 1, 1, tzinfo=UTC),
            datetime.min.replace(tzinfo=UTC),
            datetime.now(ZoneInfo("Asia/Tokyo")),
            None,
        ],
        [
            5,
            0,
            True,
            "2030-01-01",
            NOW.date(),
            NOW.time(),
            NOW.isoformat(),
            NOW.timestamp(),
            timedelta(1),
            datetime(2030, 1, 1),
            NOW + timedelta(days=36_526),
            datetime.max.replace(tzinfo=UTC),
        ],
    ),
    "id": (lambda value: emitted(id=value), [UUID(int=5)], ["order-7", str(UUID(int=5)), 7, b"7", True]),
    "Every": (
        Every,
        [0.001, 60, timedelta(days=1), 365 * 86_400],
        [*NO_NUMBERS, None, 0, -1, 0.0001, math.inf, 1e300, 2**70, 10**400, timedelta(0), timedelta.max],
    ),
    "Cron's tz": (
        lambda value: Cron("* * * * *", tz=value),
        ["Europe/Paris", ZoneInfo("Europe/Paris"), UTC],
        [5, None, timezone(timedelta(hours=1)), "Nowhere", b"UTC"],
    ),
    "Cron": (Cron, ["* * * * *"], [5, None, b"* * * * *", "", ["*"]]),
}
ALL = {
    **{
        name: (take, [5, 0.5, timedelta(seconds=5), CENTURY, *fit], [*NO_DURATIONS, *odd])
        for name, (take, fit, odd) in DURATIONS.items()
    },
    **{name: (take, [1, 5, *fit], [*NO_COUNTS, *odd]) for name, (take, fit, odd) in COUNTS.items()},
    **OTHERS,
}


@pytest.mark.parametrize("name", ALL)
def test_a_value_that_cannot_work_is_refused_and_others_are_taken(name: str) -> None:
    take, fit, odd = ALL[name]
    for value in fit:
        take(value)
    for value in odd:
        with pytest.raises(UsageError) as caught:
            pytest.fail(f"{name} takes {take(value)!r}, made of {value!r}"[:200])
        assert str(caught.value).endswith(".")
        assert "order-7" not in str(caught.value)


def test_what_is_declared_is_what_bullmq_is_told() -> None:
    retry, keep = Retry(attempts=10**9, delay=timedelta(days=36_525)), Keep(completed=10**9, failed=None, failed_for=1)
    assert retry.options["attempts"] == 10**9
    assert retry.options["backoff"]["delay"] == CENTURY * 1000
    assert keep.options == {"removeOnComplete": {"count": 10**9}, "removeOnFail": {"count": -1, "age": 1}}


def test_a_moment_in_place_of_a_duration_says_what_to_give() -> None:
    moment = datetime.now(UTC)
    for take, _, _ in DURATIONS.values():
        with pytest.raises(UsageError, match=r"is a duration, not a moment: give (a number|the moment as at=)"):
            take(moment)
    with pytest.raises(UsageError, match=r"^order\.placed: delay is a duration, .* give the moment as at=\.$"):
        emitted(delay=moment)
    emitted(delay=moment + timedelta(hours=1) - moment)


def test_an_id_that_is_no_uuid_says_how_to_make_one() -> None:
    with pytest.raises(UsageError, match=r"id must be a uuid\.UUID: make one of another id by uuid\.uuid5"):
        emitted(id="order-7")
    emitted(id=uuid5(UUID(int=0), "order-7"))


def test_a_zone_is_kept_by_its_name() -> None:
    cron = Cron("0 2 * * *", tz=ZoneInfo("Europe/Paris"))
    assert cron == Cron("0 2 * * *", "Europe/Paris")
    assert repr(cron) == "Cron(expression='0 2 * * *', tz='Europe/Paris')"
    assert Cron("0 2 * * *", tz=UTC).tz == "UTC"
    with pytest.raises(ScheduleError, match="tz must be a time zone's name, such as 'Europe/Paris', or a ZoneInfo"):
        Cron("0 2 * * *", tz=timezone(timedelta(hours=1)))
