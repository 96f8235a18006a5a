"""The history of an event on every kind of server: counted by workers, added up, read by the minute and the hour."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from oxherd import Context, Discard, Oxherd, Retry, UnknownEvent, UsageError
from oxherd.admin import HistoryRow, summed
from oxherd.bullmq.queue import BullQueue
from oxherd.redis.client import Argument
from tests.harness import Records


async def number_placed(number: int) -> None: ...


async def home_of(herd: Oxherd, name: str = "order.placed") -> BullQueue:
    return (await herd.backend()).queue(herd[name].declaration)


async def last_hour(herd: Oxherd, name: str = "order.placed") -> HistoryRow:
    return summed(await herd.admin.history(name, since=3600))


async def test_every_outcome_is_counted_with_how_long_it_waited_and_ran(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed", retry=Retry(attempts=2, delay=0), timeout=0.1)
    async def order_placed(number: int, ctx: Context) -> None:
        if number == 1:
            raise ValueError("never")
        if number == 2:
            raise Discard("no")
        if number == 3:
            await asyncio.sleep(60)

    async with herd:
        await order_placed.emit_many([0, 0, 0, 1, 2, 3])
        await order_placed.emit(0, expires=0.01)
        await asyncio.sleep(0.3)
        await herd.start()
        await records.wait("event.end", count=8)
        await records.wait("event.expired")
        await herd.stop()
    async with herd:
        row = await last_hour(herd)
        (event,) = await herd.admin.events()
    assert (row.begun, row.completed, row.retrying, row.failed, row.timed_out) == (8, 3, 2, 1, 1)
    assert (row.discarded, row.expired, row.cancelled, row.requeued, row.lost) == (1, 1, 0, 0, 0)
    assert row.failures == 3
    assert (row.ran.count, row.waited.count) == (8, 6), "an attempt after the first has not waited for a worker"
    assert row.ran.p95 is not None
    assert 0.08 < row.ran.p95 < 0.3
    assert row.waited.p50 is not None
    assert 0.25 < row.waited.p50 < 5
    assert row.waited.mean is not None
    assert 0.25 < row.waited.mean < 5
    recent = event.recent
    assert (recent.begun, recent.completed, recent.failures) == (8, 3, 3)
    assert 300 <= recent.seconds < 360
    assert recent.begun_rate == pytest.approx(480 / recent.seconds)
    assert recent.completed_rate == pytest.approx(180 / recent.seconds)
    assert recent.failed_rate == pytest.approx(180 / recent.seconds)


async def test_the_minutes_follow_each_other_up_to_now_and_so_do_the_hours(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed")
    async def order_placed(number: int) -> None: ...

    async with herd:
        assert await herd.admin.history("order.placed", step="hour")
        await herd.start()
        await order_placed.emit(1)
        await records.wait("event.end")
        await herd.stop()
    async with herd:
        now = datetime.now(UTC)
        minutes = await herd.admin.history("order.placed")
        hours = await herd.admin.history("order.placed", step="hour")
        ten = await herd.admin.history("order.placed", since=timedelta(minutes=9))
        since = await herd.admin.history("order.placed", since=now - timedelta(hours=2), step="hour")
    assert (len(minutes), len(hours), len(ten), len(since)) == (1_440, 744, 10, 3)
    for rows, step in ((minutes, 60), (hours, 3600)):
        assert [(b.at - a.at).total_seconds() for a, b in pairwise(rows)] == [step] * (len(rows) - 1)
        assert all(row.at.timestamp() % step == 0 for row in rows)
        assert {row.seconds for row in rows[:-1]} == {step}
        assert 0 <= rows[-1].seconds <= step
        assert abs(rows[-1].at.timestamp() + rows[-1].seconds - now.timestamp()) < 5
        assert sum(row.completed for row in rows[-2:]) == sum(row.completed for row in rows) == 1


async def test_what_two_workers_and_all_shards_have_counted_is_added_up(
    url: str, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    async def order_placed(number: int) -> None:
        await asyncio.sleep(0.001)

    herds = [make_herd(url) for _ in range(2)]
    for herd in herds:
        herd.event("order.placed", shards=3, key=str, concurrency=2)(order_placed)
    async with herds[0], herds[1]:
        for herd in herds:
            await herd.start()
        await herds[0]["order.placed"].emit_many(list(range(200)))
        await records.wait("event.end", count=200)
        for herd in herds:
            await herd.stop()
        async with herds[0]:
            row = await last_hour(herds[0])
    assert (row.begun, row.completed, row.ran.count, row.waited.count) == (200, 200, 200, 200)


async def test_events_that_share_a_queue_have_histories_of_their_own(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed", queue="{orders}")
    async def order_placed(number: int) -> None: ...

    @herd.event("order.paid", queue="{orders}")
    async def order_paid(number: int) -> None: ...

    async with herd:
        await herd.start()
        await order_placed.emit_many([1, 2, 3])
        await order_paid.emit(1)
        await records.wait("event.end", count=4)
        await herd.stop()
    async with herd:
        assert [(await last_hour(herd, name)).completed for name in ("order.placed", "order.paid")] == [3, 1]
        assert {row.name: row.recent.completed for row in await herd.admin.events()} == {
            "order.placed": 3,
            "order.paid": 1,
        }
        both = summed([*await herd.admin.history("order.placed"), *await herd.admin.history("order.paid")])
        assert (both.event, both.completed) == ("order.placed,order.paid", 4)
        assert both.seconds == pytest.approx(1_440 * 60, abs=60)


async def test_a_payload_that_does_not_fit_counts_as_failed_and_not_as_begun(
    url: str, make_herd: Callable[..., Oxherd], herd: Oxherd, records: Records
) -> None:
    other = make_herd(url)
    herd.event("order.placed")(number_placed)
    wrong = other.declare("order.placed", str)
    async with herd, other:
        await wrong.emit("x")
        await herd.start()
        await records.wait("queue.error", source="data")
        await herd.stop()
        async with herd:
            row = await last_hour(herd)
    assert (row.begun, row.failed, row.ran.count) == (0, 1, 0)


async def test_bad_input_is_named(herd: Oxherd) -> None:
    herd.declare("order.placed", int)
    async with herd:
        with pytest.raises(UsageError, match="step is 'minute' or 'hour'"):
            await herd.admin.history("order.placed", step="day")  # pyright: ignore[reportArgumentType]
        with pytest.raises(UsageError, match="since needs a time zone"):
            await herd.admin.history("order.placed", since=datetime(2026, 1, 1))
        with pytest.raises(UnknownEvent):
            await herd.admin.history("order.plced")
        with pytest.raises(ValueError, match="needs a row"):
            summed([])


async def test_the_twin_for_code_without_a_loop_reads_the_same(herd: Oxherd) -> None:
    herd.declare("order.placed", int)
    rows = await asyncio.to_thread(herd.admin.history_sync, "order.placed", since=120)
    assert len(rows) == 3
    await asyncio.to_thread(herd.close_sync)


@pytest.mark.parametrize(
    "damage",
    [
        ("SET", "x"),
        ("HSET", "0", "x", "1", b"\x92\x01\xc0", "2", b"\x92\xff\x02", "59", b"\xc1"),
        ("RPUSH", "x"),
    ],
    ids=str,
)
async def test_damaged_figures_begin_anew_and_keep_nothing_from_ending(
    damage: tuple[Argument, ...], herd: Oxherd, records: Records
) -> None:
    @herd.event("order.placed")
    async def order_placed(number: int) -> None: ...

    command, *values = damage
    async with herd:
        queue = await home_of(herd)
        hour = int(datetime.now(UTC).timestamp() // 3600)
        for block in (f"m:order.placed:{hour}", f"h:order.placed:{hour // 60}"):
            await queue.client.call(queue.keys.slot, command, f"{queue.keys.history}{block}", *values)
        assert (await last_hour(herd)).begun == 0
        await herd.start()
        await order_placed.emit(1)
        await records.wait("event.end")
        await herd.stop()
    async with herd:
        assert (await last_hour(herd)).completed == 1
        assert (await herd.admin.history("order.placed", step="hour"))[-1].completed == 1
    assert not records.named("queue.error")
