"""An event's story tells each attempt: who ran it, when, for how long, and how it ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from oxherd import Context, Event, Keep, Oxherd, PerKey, Rate, RateLimited, Retry, RetryIn, Snooze
from oxherd.admin import AttemptInfo
from oxherd.limits import Limits
from tests.harness import Records, until

MakeHerd = Callable[..., Oxherd]
ASKED: list[Exception] = [
    Snooze(0),
    RetryIn(0, "the bank is busy"),
    RateLimited(0.001),
    TimeoutError("too slow"),
    Snooze(0.001),
]


async def attempts(herd: Oxherd, event_id: UUID) -> tuple[AttemptInfo, ...]:
    story = await herd.admin.show(event_id)
    assert story is not None
    return story.attempts


def told(each: AttemptInfo) -> tuple[int | None, int | None, str | None, str | None]:
    return each.number, each.fence, each.outcome, None if each.error is None else each.error.type


def itself(number: int) -> int:
    return number


async def stored(event: Event[Any, Any], event_id: UUID, field: str = "ox:runs") -> bytes | None:
    queue = (await event.herd.backend()).queue(event.declaration)
    value: bytes | None = await queue.client.call(queue.keys.slot, "HGET", queue.keys.job(str(event_id)), field)
    return value


def in_loop(herd: Oxherd, **options: Any) -> Event[int, Any]:
    @herd.event("order.placed", **options)
    async def order_placed(number: int) -> None:
        await asyncio.sleep(0.02)
        raise ValueError(f"no stock of {number}")

    return order_placed


def in_thread(herd: Oxherd, **options: Any) -> Event[int, Any]:
    @herd.event("order.placed", **options)
    def order_placed(number: int) -> None:
        time.sleep(0.02)
        raise ValueError(f"no stock of {number}")

    return order_placed


def fail_in_process(number: int) -> None:
    time.sleep(0.02)
    raise ValueError(f"no stock of {number}")


# By which the handler's process finds it.
found_there = Oxherd().event("order.placed", run_in="process")(fail_in_process)


def in_process(herd: Oxherd, **options: Any) -> Event[int, Any]:
    return herd.event("order.placed", run_in="process", **options)(fail_in_process)


@pytest.mark.parametrize("declare", [in_loop, in_thread, in_process])
async def test_each_attempt_is_told_with_the_worker_that_ran_it(
    url: str, make_herd: MakeHerd, records: Records, declare: Callable[..., Event[int, Any]]
) -> None:
    workers: list[str] = []
    event_id = UUID(int=0)
    for attempt in (1, 2):
        herd = make_herd(url)
        event = declare(herd, retry=Retry(attempts=2, delay=0.3), keep=Keep(failed=5))
        async with herd:
            if attempt == 1:
                event_id = (await event.emit(7)).id
            await herd.start()
            await records.wait("event.begin", attempt, event_id=event_id)
            workers += [worker.id for worker in await herd.workers() if worker.id not in workers]
            await records.wait("event.end", attempt, event_id=event_id)
            await herd.stop()
    async with make_herd(url) as herd:
        declare(herd)
        first, second = await attempts(herd, event_id)
    assert [told(first), told(second)] == [(1, 1, "retrying", "ValueError"), (2, 2, "failed", "ValueError")]
    assert [first.worker, second.worker] == workers
    for each in (first, second):
        assert each.error is not None
        assert each.error.message.startswith("no stock of")
        assert each.stack
        assert each.seconds is not None
        assert 0.015 < each.seconds < 10
        assert each.began_at is not None
        assert each.ended_at is not None
    assert first.ended_at is not None
    assert second.began_at is not None
    assert second.began_at >= first.ended_at


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ordered": True},
        {"queue": "{orders}"},
        {"shards": 3},
        {"key": itself, "per_key": PerKey(max_running=1)},
    ],
    ids=["plain", "ordered", "shared", "shards", "keys"],
)
async def test_what_a_handler_asks_for_is_an_attempt_each(
    herd: Oxherd, records: Records, options: dict[str, Any]
) -> None:
    @herd.event("order.placed", retry=Retry(attempts=3, delay=0), keep=Keep(completed=5), **options)
    async def order_placed(number: int, ctx: Context) -> None:
        if ctx.fence <= len(ASKED):
            raise ASKED[ctx.fence - 1]

    async with herd:
        emitted = await order_placed.emit(1)
        await herd.start()
        await records.wait("event.end", outcome="completed", event_id=emitted.id)
        found = await attempts(herd, emitted.id)
        assert [told(each) for each in found] == [
            (1, 1, "retrying", "Snooze"),
            (1, 2, "retrying", "RetryIn"),
            (2, 3, "retrying", "RateLimited"),
            (2, 4, "retrying", "TimeoutError"),
            (3, 5, "retrying", "Snooze"),
            (3, 6, "completed", None),
        ]
        assert all(each.worker and each.began_at and each.ended_at for each in found)


class AnErrorWhoseNameIsLongerThanWhatTheRecordOfARunKeepsOfItsType(Exception): ...


def noted() -> ValueError:
    error = ValueError("no stock")
    error.add_note("of 7")
    return error


@pytest.mark.parametrize(
    "error",
    [
        ValueError(),
        ValueError("no stock " * 100),
        ValueError("no stock\n    at all\n"),
        ValueError("half \ud800"),
        AnErrorWhoseNameIsLongerThanWhatTheRecordOfARunKeepsOfItsType("no stock"),
        noted(),
    ],
    ids=["empty", "long", "lines", "half a character", "long type", "note"],
)
async def test_a_run_and_the_trace_that_it_has_left_are_one_attempt(
    local_herd: Oxherd, records: Records, error: Exception
) -> None:
    @local_herd.event("order.placed", retry=Retry(attempts=2, delay=0))
    async def order_placed(number: int) -> None:
        raise error

    async with local_herd as herd:
        emitted = await order_placed.emit(1)
        await herd.start()
        await records.wait("event.end", outcome="failed", event_id=emitted.id)
        found = await attempts(herd, emitted.id)
        kind = type(error).__name__
        assert [told(each) for each in found] == [(1, 1, "retrying", kind), (2, 2, "failed", kind)]
        assert all(each.stack for each in found)


async def test_a_run_that_a_stop_puts_back_is_told(url: str, make_herd: MakeHerd, records: Records) -> None:
    herd = make_herd(url)

    @herd.event("order.placed")
    async def order_placed(number: int) -> None:
        await asyncio.sleep(60)

    async with herd:
        emitted = await order_placed.emit(1)
        await herd.start()
        await records.wait("event.begin", event_id=emitted.id)
        await herd.stop(timeout=0)
    async with make_herd(url) as reader:
        reader.declare("order.placed", int)
        (run,) = await attempts(reader, emitted.id)
    assert told(run)[:3] == (1, 1, "requeued")
    assert run.worker is not None
    assert run.seconds is not None


async def test_an_event_that_completes_at_once_keeps_nothing_of_its_run_but_bullmqs_fields(
    herd: Oxherd, records: Records
) -> None:
    @herd.event("order.placed", keep=Keep(completed=5))
    async def order_placed(number: int) -> None: ...

    async with herd:
        emitted = await order_placed.emit(1)
        await herd.start()
        await records.wait("event.end", event_id=emitted.id)
        assert await stored(order_placed, emitted.id) is None
        (run,) = await attempts(herd, emitted.id)
        assert told(run) == (1, 1, "completed", None)
        story = await herd.admin.show(emitted.id)
        assert story is not None
        assert len(story.not_known) == 1, "only what it caused"


async def test_an_operators_retry_keeps_the_earlier_runs(herd: Oxherd, records: Records) -> None:
    event = in_loop(herd, retry=Retry(attempts=1))
    async with herd:
        emitted = await event.emit(1)
        await herd.start()
        await records.wait("event.end", event_id=emitted.id)
        assert (await herd.admin.retry(ids=[emitted.id]).run()).done == 1
        await records.wait("event.end", 2, event_id=emitted.id)
        found = await attempts(herd, emitted.id)
        assert [told(each) for each in found] == [(1, 1, "failed", "ValueError"), (1, 2, "failed", "ValueError")]


HOSTILE = b"\n".join(
    [
        b'[1,1,"\\u001b]0;x\\u0007",1,1,"\\u001b[31m","\\u202eE","canary-31415 \\u001b[2J"]',
        b'[1,1,"w:1:0123456789ab",253402300799000,253402300799000,"failed","E","m"]',
        b"[[[[", b"\xff", b"{}", b'[1,2,"w",-1,1,"failed","E","m"]',
    ]
)  # fmt: skip


@pytest.mark.parametrize("value", [HOSTILE, b"x" * 1_000_000, b"[" * 1_500])
async def test_what_another_program_has_written_of_runs_is_bounded(
    herd: Oxherd, records: Records, value: bytes
) -> None:
    @herd.event("order.placed", retry=Retry(attempts=1), sanitize=lambda order: {})
    async def order_placed(order: dict[str, str]) -> None:
        raise ValueError("no stock")

    async with herd:
        emitted = await order_placed.emit({"note": "canary-31415"}, delay=3600)
        queue = (await herd.backend()).queue(order_placed.declaration)
        await queue.client.call(queue.keys.slot, "HSET", queue.keys.job(str(emitted.id)), "ox:runs", value)
        before = await attempts(herd, emitted.id)
        assert "canary" not in repr(before)
        assert all(each.outcome in (None, "failed") for each in before)
        await herd.admin.promote(ids=[emitted.id]).run()
        await herd.start()
        await records.wait("event.end", event_id=emitted.id)
        kept = await stored(order_placed, emitted.id)
        assert kept is not None
        assert len(kept) <= 1_536
        assert told((await attempts(herd, emitted.id))[-1]) == (1, 1, "failed", "ValueError")


async def test_a_run_keeps_of_its_error_what_the_log_shows(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed", retry=Retry(attempts=2, delay=0))
    async def order_placed(order: dict[str, str]) -> None:
        raise ValueError(f"no stock for {order['email']}")

    async with herd:
        emitted = await order_placed.emit({"email": "canary-mail-27182@example.com"})
        await herd.start()
        await records.wait("event.end", outcome="failed", event_id=emitted.id)
        kept = await stored(order_placed, emitted.id)
        assert kept is not None
        assert kept.count(b"ValueError") == 2
        assert b"canary" not in kept


@pytest.mark.parametrize("options", [{}, {"shards": 3}, {"queue": "{orders}"}])
async def test_the_limits_of_each_key_are_told(herd: Oxherd, options: dict[str, Any]) -> None:
    declared = PerKey(max_running=2, rate=Rate(10, per=60))

    @herd.event("order.placed", key=itself, per_key=declared, **options)
    async def order_placed(number: int) -> None: ...

    async with herd:
        await herd.start()

        async def are_declared() -> bool:
            return (await herd.admin.limits("order.placed")).per_key == declared

        await until(are_declared)
        (row,) = await herd.admin.events()
        assert row.limits == Limits(per_key=declared)
        await order_placed.set_limits(per_key=PerKey(max_running=7))
        (row,) = await herd.admin.events()
        assert row.limits.per_key == (await herd.admin.limits("order.placed")).per_key == PerKey(max_running=7)
        queue = (await herd.backend()).queue(order_placed.declaration)
        for text in ("1/2", "x", "0/99999999999/1", "1/5/9999999999999"):
            await queue.client.call(queue.keys.slot, "HSET", queue.keys.meta, "ox:per_key:order.placed", text)
            assert (await herd.admin.events())[0].limits.per_key is None
