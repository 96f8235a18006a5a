"""What a handler raises decides whether and when its event is tried again, on every kind of server."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import timedelta
from typing import Any

import pytest

from oxherd import Context, Discard, Event, Keep, Oxherd, Retry, RetryIn, Snooze
from tests.harness import Records

ERRORS: dict[str, Any] = {
    "reset": ConnectionResetError,
    "refused": ConnectionRefusedError,
    "value": ValueError,
    "group": lambda: ExceptionGroup("several", [ConnectionError(), ConnectionResetError()]),
    "mixed": lambda: ExceptionGroup("several", [ConnectionError(), ValueError()]),
    "cancel": asyncio.CancelledError,
    "discard": lambda: Discard("no such order"),
}
# With two attempts, after ConnectionError but never after ConnectionRefusedError.
OUTCOMES = {
    "reset": ["retrying", "failed"],
    "refused": ["failed"],
    "value": ["failed"],
    "group": ["retrying", "failed"],
    "mixed": ["failed"],
    "cancel": ["failed"],
    "discard": ["discarded"],
}


def outcomes(records: Records, event_id: object) -> list[str]:
    return [vars(record)["outcome"] for record in records.named("event.end", event_id=event_id)]


async def stored(event: Event[Any, Any], herd: Oxherd, event_id: object, *fields: str) -> list[str | None]:
    backend = await herd.backend()
    keys = backend.queue(event.declaration).keys
    values = await backend.client.call(keys.slot, "HMGET", keys.job(str(event_id)), *fields)
    return [None if value is None else value.decode() for value in values]


@pytest.mark.parametrize("kind", ["loop", "thread"])
async def test_only_the_errors_that_are_declared_are_tried_again(herd: Oxherd, records: Records, kind: str) -> None:
    retry = Retry(attempts=2, delay=0.01, on=ConnectionError, never=ConnectionRefusedError)

    async def in_loop(how: str) -> None:
        raise ERRORS[how]()

    def in_thread(how: str) -> None:
        raise ERRORS[how]()

    event = herd.event("order.placed", retry=retry)(in_loop if kind == "loop" else in_thread)
    async with herd:
        emitted = await event.emit_many(list(ERRORS))
        await herd.start()
        for how, each in zip(ERRORS, emitted, strict=True):
            await records.wait("event.end", count=len(OUTCOMES[how]), event_id=each.id)
        await herd.stop()
        assert {how: outcomes(records, each.id) for how, each in zip(ERRORS, emitted, strict=True)} == OUTCOMES
        assert await stored(event, herd, emitted[2].id, "atm", "finishedOn") != [None, None]


async def test_a_handler_that_cancels_itself_counts_as_cancelled(local_herd: Oxherd, records: Records) -> None:
    @local_herd.event("order.placed", retry=Retry(attempts=2, delay=0, never=asyncio.CancelledError))
    async def order_placed(number: int) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    async with local_herd:
        emitted = await order_placed.emit(1)
        await local_herd.start()
        await records.wait("event.end", outcome="failed", event_id=emitted.id, attempt=1)


async def test_retry_in_spends_an_attempt_and_snooze_does_not(herd: Oxherd, records: Records) -> None:
    runs: list[tuple[int, int, float]] = []
    asked: list[Exception] = [Snooze(0.3), RetryIn(0.4), Snooze(0), Snooze(timedelta(milliseconds=1)), RetryIn(0, "no")]

    # Declared otherwise in every respect: what the handler asks for counts.
    @herd.event("order.placed", retry=Retry(attempts=2, delay=60, never=Exception), keep=Keep(failed=5))
    async def order_placed(number: int, ctx: Context) -> None:
        runs.append((ctx.attempt, ctx.fence, time.monotonic()))
        raise asked[ctx.fence - 1]

    async with herd:
        emitted = await order_placed.emit(1)
        await herd.start()
        (end,) = await records.wait("event.end", outcome="failed", event_id=emitted.id)
        assert end.error == {"type": "RetryIn", "message": "no", "stack": end.error["stack"]}
        assert await stored(order_placed, herd, emitted.id, "atm", "ats", "failedReason") == ["2", "5", "no"]
        await herd.stop()
    assert [run[:2] for run in runs] == [(1, 1), (1, 2), (2, 3), (2, 4), (2, 5)]
    assert outcomes(records, emitted.id) == ["retrying"] * 4 + ["failed"]
    assert runs[1][2] - runs[0][2] >= 0.29
    assert runs[2][2] - runs[1][2] >= 0.39
    first = records.named("event.end", event_id=emitted.id)[0]
    assert vars(first)["error"]["message"] == "to be tried again in 0.3 s"
    assert (first.levelname, vars(first)["retry_in_ms"]) == ("WARNING", 300)


async def test_others_go_on_while_one_is_snoozed(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed", concurrency=1)
    async def order_placed(number: int, ctx: Context) -> None:
        if number == 0 and ctx.fence < 5:
            raise Snooze(0)

    async with herd:
        first, *others = await order_placed.emit_many(range(4))
        await herd.start()
        await records.wait("event.end", count=4, outcome="completed")
    ended = [vars(record)["event_id"] for record in records.named("event.end", outcome="completed")]
    assert ended[-1] == str(first.id) or ended.index(str(first.id)) >= 1
    assert set(ended) == {str(each.id) for each in (first, *others)}
    assert outcomes(records, first.id) == ["retrying"] * 4 + ["completed"]


@pytest.mark.parametrize(
    ("retry", "expected"),
    [
        (Retry(attempts=2, delay=0, on=TimeoutError), ["retrying", "timed_out"]),
        (Retry(attempts=2, delay=0, never=ConnectionError), ["retrying", "timed_out"]),
        (Retry(attempts=2, delay=0, never=TimeoutError), ["timed_out"]),
        (Retry(attempts=2, delay=0, on=ConnectionError), ["timed_out"]),
    ],
)
async def test_a_timeout_counts_as_a_timeout_error(
    local_herd: Oxherd, records: Records, retry: Retry, expected: list[str]
) -> None:
    @local_herd.event("in.loop", timeout=0.05, retry=retry)
    async def in_loop(number: int) -> None:
        await asyncio.sleep(30)

    @local_herd.event("in.thread", timeout=0.05, retry=retry)
    def in_thread(number: int, ctx: Context) -> None:
        while ctx.cancelled is None:
            threading.Event().wait(0.005)
        raise ConnectionError("told to stop")

    async with local_herd:
        emitted = [await in_loop.emit(1), await in_thread.emit(1)]
        await local_herd.start()
        for each in emitted:
            await records.wait("event.end", count=len(expected), event_id=each.id)
        await local_herd.stop()
    assert [outcomes(records, each.id) for each in emitted] == [expected, expected]


async def test_a_handler_that_is_over_its_time_may_ask_for_another(local_herd: Oxherd, records: Records) -> None:
    asked: list[Exception] = [Snooze(0), RetryIn(0), Discard("no")]

    @local_herd.event("order.placed", timeout=0.05, retry=Retry(attempts=3, never=TimeoutError))
    async def order_placed(number: int, ctx: Context) -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            raise asked[ctx.fence - 1] from None

    async with local_herd:
        emitted = await order_placed.emit(1)
        await local_herd.start()
        await records.wait("event.end", outcome="discarded", event_id=emitted.id, attempt=2)
    assert outcomes(records, emitted.id) == ["retrying", "retrying", "discarded"]


async def test_a_stop_puts_back_whatever_the_handler_asks_for(local_herd: Oxherd, records: Records) -> None:
    @local_herd.event("order.placed", retry=Retry(never=Exception))
    async def order_placed(number: int, ctx: Context) -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            raise RetryIn(60) from None

    async with local_herd:
        emitted = await order_placed.emit(1)
        await local_herd.start()
        await records.wait("event.begin")
        await local_herd.stop(0)
    assert outcomes(records, emitted.id) == ["requeued"]


@pytest.mark.parametrize("kind", ["loop", "thread"])
async def test_a_function_says_the_delay(herd: Oxherd, records: Records, kind: str) -> None:
    asked: list[tuple[int, str]] = []
    begun: list[float] = []

    def backoff(attempt: int, error: BaseException) -> float | timedelta:
        asked.append((attempt, f"{type(error).__name__}: {error}"))
        return timedelta(seconds=0.3) if attempt == 1 else 3600

    async def in_loop(number: int, ctx: Context) -> None:
        begun.append(time.monotonic())
        raise OSError(f"run {ctx.attempt}")

    def in_thread(number: int, ctx: Context) -> None:
        begun.append(time.monotonic())
        raise OSError(f"run {ctx.attempt}")

    retry = Retry(attempts=3, delay=60, max_delay=0.4, backoff=backoff)
    event = herd.event("order.placed", retry=retry)(in_loop if kind == "loop" else in_thread)
    async with herd:
        emitted = await event.emit(1)
        await herd.start()
        await records.wait("event.end", outcome="failed", event_id=emitted.id)
        await herd.stop()
    # Not for the last, after which there is no other.
    assert asked == [(1, "OSError: run 1"), (2, "OSError: run 2")]
    assert begun[1] - begun[0] >= 0.29
    assert begun[2] - begun[1] >= 0.39
    assert [vars(each).get("retry_in_ms") for each in records.named("event.end")] == [300, 400, None]


async def test_a_function_that_gives_no_delay_is_reported_once_and_the_declared_delay_is_taken(
    local_herd: Oxherd, records: Records
) -> None:
    def backoff(attempt: int, error: BaseException) -> float:
        return 1 / 0 if attempt == 1 else -5

    @local_herd.event("order.placed", retry=Retry(attempts=3, delay=0.1, jitter=0, backoff=backoff))
    async def order_placed(number: int) -> None:
        raise OSError("no")

    async with local_herd:
        await order_placed.emit_many(range(5))
        await local_herd.start()
        await records.wait("event.end", count=5, outcome="failed")
        await local_herd.stop()
    raised, returned = records.named("queue.error", source="finish", event="order.placed")
    assert vars(raised)["error"]["type"] == vars(returned)["error"]["type"] == "BackoffError"
    assert "backoff raised ZeroDivisionError; let it return" in vars(raised)["error"]["message"]
    assert "backoff returned less than 0, or NaN; let it return" in vars(returned)["error"]["message"]
    waits = {vars(each)["retry_in_ms"] for each in records.named("event.end", outcome="retrying")}
    assert waits == {100, 200}


async def test_a_timeout_is_what_the_function_is_given(local_herd: Oxherd, records: Records) -> None:
    asked: list[tuple[int, str]] = []

    def backoff(attempt: int, error: BaseException) -> float:
        asked.append((attempt, repr(error)))
        return 0

    @local_herd.event("order.placed", timeout=0.05, retry=Retry(attempts=2, backoff=backoff))
    async def order_placed(number: int) -> None:
        await asyncio.sleep(30)

    async with local_herd:
        await order_placed.emit(1)
        await local_herd.start()
        await records.wait("event.end", outcome="timed_out")
    assert asked == [(1, "TimeoutError('timed out after 0.05 s')")]


@pytest.mark.parametrize("shards", [1, 2])
async def test_an_ordered_event_keeps_its_place_while_it_is_snoozed_or_waits(
    herd: Oxherd, records: Records, shards: int
) -> None:
    runs: list[tuple[int, int, float]] = []
    asked: list[Exception] = [Snooze(0.3), RetryIn(0.4), Snooze(0), RetryIn(0)]

    @herd.event(
        "order.placed", shards=shards, key=lambda number: "a", ordered=True, concurrency=3,
        retry=Retry(attempts=4, delay=60),
    )  # fmt: skip
    async def order_placed(number: int, ctx: Context) -> None:
        runs.append((number, ctx.attempt, time.monotonic()))
        if number == 1 and ctx.fence <= len(asked):
            raise asked[ctx.fence - 1]

    async with herd:
        await order_placed.emit_many([0, 1, 2, 3])
        await herd.start()
        await records.wait("event.end", count=4, outcome="completed")
        await herd.stop()
    assert [run[:2] for run in runs] == [(0, 1), (1, 1), (1, 1), (1, 2), (1, 2), (1, 3), (2, 1), (3, 1)]
    assert runs[2][2] - runs[1][2] >= 0.29
    assert runs[3][2] - runs[2][2] >= 0.39
    assert runs[-1][2] - runs[3][2] < 3


async def test_events_of_one_queue_have_each_their_own_errors(local_herd: Oxherd, records: Records) -> None:
    async def failing(number: int) -> None:
        raise ValueError

    again = local_herd.event("again", queue="{shop}", retry=Retry(attempts=2, delay=0, on=ValueError))(failing)
    once = local_herd.event("once", queue="{shop}", retry=Retry(attempts=2, delay=0, never=ValueError))(failing)
    async with local_herd:
        emitted = [await again.emit(1), await once.emit(1)]
        await local_herd.start()
        await records.wait("event.end", count=2, outcome="failed")
    assert [outcomes(records, each.id) for each in emitted] == [["retrying", "failed"], ["failed"]]


async def test_a_plain_call_just_raises(local_herd: Oxherd) -> None:
    @local_herd.event("order.placed", retry=Retry(backoff=lambda attempt, error: 1 / 0))
    async def order_placed(number: int) -> None:
        raise Snooze(60)

    with pytest.raises(Snooze, match="again in 60 s"):
        await order_placed(1)
