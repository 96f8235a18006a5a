"""`run_until_empty` and `travel`, on each kind of server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from oxherd import Context, Cron, Oxherd, Retry, Snooze, UsageError
from oxherd.testing import NotEmpty, run_until_empty, travel


async def test_delays_retries_and_what_handlers_emit_are_run_at_once(herd: Oxherd) -> None:
    ran: list[str] = []

    @herd.event("last")
    async def last(text: str) -> None:
        ran.append(text)

    @herd.event("first", retry=Retry(attempts=3, delay=3600))
    async def first(text: str, ctx: Context) -> None:
        if ctx.attempt < 3:
            raise ConnectionError
        await last.emit(text, delay=3600)

    async with herd:
        emitted = await first.emit("a", delay=timedelta(days=1), priority=2)
        ended = await run_until_empty(herd, timeout=10)
    assert ran == ["a"]
    assert [(run.event, run.attempt, run.outcome) for run in ended] == [
        ("first", 1, "retrying"),
        ("first", 2, "retrying"),
        ("first", 3, "completed"),
        ("last", 1, "completed"),
    ]
    assert ended[0].id == emitted.id
    assert ended[0].error.startswith("ConnectionError")


async def test_what_has_expired_is_dropped_and_what_is_delayed_is_not(herd: Oxherd) -> None:
    ran: list[str] = []

    @herd.event("later", expires=7200)
    async def later(text: str) -> None:
        ran.append(text)

    async with herd:
        await later.emit("late", expires=0.001)
        await later.emit("delayed", delay=3600)
        await later.emit("at", at=datetime.now(UTC) + timedelta(hours=1))
        await asyncio.sleep(0.01)
        ended = await run_until_empty(herd)
    assert sorted(ran) == ["at", "delayed"]
    assert [run.outcome for run in ended] == ["completed", "completed"]


async def test_shards_ordered_events_and_keys_are_run_until_empty(herd: Oxherd) -> None:
    ran: list[int] = []

    @herd.event("spread", shards=4)
    async def spread(number: int) -> None:
        ran.append(number)

    @herd.event("ordered", ordered=True, retry=Retry(attempts=2, delay=3600))
    async def ordered(number: int, ctx: Context) -> None:
        if ctx.fence == 1:
            raise Snooze(3600)
        if ctx.attempt == 1:
            raise ConnectionError
        ran.append(number)

    async with herd:
        await spread.emit_many(range(20), delay=3600)
        await ordered.emit_many([100, 101])
        await run_until_empty(herd, timeout=4)  # less than an idle worker waits
    assert sorted(ran) == [*range(20), 100, 101]
    assert [number for number in ran if number >= 100] == [100, 101]


async def test_a_herd_that_runs_already_goes_on(local_herd: Oxherd) -> None:
    @local_herd.event("work")
    async def work(number: int) -> None: ...

    async with local_herd:
        await local_herd.start()
        await work.emit(1)
        await run_until_empty(local_herd)
        assert local_herd.processing == ["work"]
        await local_herd.stop()
        await work.emit(2)
        assert [run.outcome for run in await run_until_empty(local_herd)] == ["completed"]
        assert local_herd.processing == []


async def test_what_is_left_is_named_when_the_time_is_over(local_herd: Oxherd) -> None:
    never = asyncio.Event()

    @local_herd.event("stuck", concurrency=1)
    async def stuck(number: int) -> None:
        await never.wait()

    async with local_herd:
        await stuck.emit_many([1, 2, 3])
        with pytest.raises(NotEmpty, match=r"\{stuck\} has 2 waiting and 1 running") as raised:
            await run_until_empty(local_herd, timeout=0.5)
        assert isinstance(raised.value, TimeoutError)


async def test_an_event_that_never_succeeds_is_failed_in_the_end(local_herd: Oxherd) -> None:
    @local_herd.event("fails", retry=Retry(attempts=2, delay=3600))
    async def fails(number: int) -> None:
        raise ValueError("no such order")

    async with local_herd:
        await fails.emit(1)
        assert [run.outcome for run in await run_until_empty(local_herd)] == ["retrying", "failed"]


async def test_a_schedule_is_not_waited_for_but_can_be_travelled_to(herd: Oxherd) -> None:
    ran: list[str] = []

    @herd.event("nightly")
    async def nightly(text: str) -> None:
        ran.append(text)

    @herd.event("later")
    async def later(text: str) -> None:
        ran.append(text)

    async with herd:
        await nightly.schedule("at-two", Cron("0 2 * * *"), "tick")
        await later.emit("far", delay=timedelta(days=3))
        await later.emit("near", delay=timedelta(hours=1))
        assert await travel(herd, to=datetime.now(UTC) + timedelta(days=2)) == 2
        ended = await run_until_empty(herd)
        assert sorted(ran) == ["far", "near", "tick"]
        assert len(ended) == 3


async def test_travel_makes_due_only_what_is_due_by_then(standalone: str, make_herd: Callable[..., Oxherd]) -> None:
    herd = make_herd(standalone)
    ran = asyncio.Queue[str]()

    @herd.event("later")
    async def later(text: str) -> None:
        ran.put_nowait(text)

    async with herd:
        await later.emit("far", delay=timedelta(days=3))
        await later.emit("near", delay=timedelta(hours=1))
        assert await travel(herd, to=datetime.now(UTC) + timedelta(days=2)) == 1
        await herd.start()
        assert await ran.get() == "near"
        assert ran.empty()


@pytest.mark.parametrize("to", [datetime.now(), 5, None])
async def test_travel_refuses_what_is_no_aware_datetime(local_herd: Oxherd, to: Any) -> None:
    with pytest.raises(UsageError, match="aware datetime"):
        await travel(local_herd, to=to)
