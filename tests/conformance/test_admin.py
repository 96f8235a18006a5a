"""`herd.admin` on every kind of server: what the queues hold, one event's story, and steering a selection."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from oxherd import Context, Cron, Event, EventCancelled, Keep, Mask, Oxherd, Rate, RateLimited, Retry
from oxherd.admin import FoundEvent, Progress
from oxherd.emitted import Emitted
from oxherd.limits import Limits
from tests.harness import Records, until


class Order(BaseModel):
    number: int
    email: Annotated[str, Mask("email")] = "alice@example.com"


def declared(herd: Oxherd, name: str = "order.placed", **options: Any) -> Event[Order, Any]:
    """An event whose handler fails with `ValueError` for odd numbers and `KeyError` for others."""
    given: dict[str, Any] = {"retry": Retry(attempts=1), **options}

    @herd.event(name, **given)
    async def failing(order: Order) -> None:
        if order.number % 2:
            raise ValueError(f"no stock of {order.number} for {order.email}")
        raise KeyError(order.number)

    return failing


async def failed(event: Event[Order, Any], records: Records, count: int, first: int = 0) -> list[Emitted[Any]]:
    """Events that have failed, with the numbers from `first` on."""
    before = len(records.named("event.end", event=event.name, outcome="failed"))
    emitted = [await event.emit(Order(number=number)) for number in range(first, first + count)]
    await event.start()
    await records.wait("event.end", before + count, event=event.name, outcome="failed")
    await event.stop()
    return emitted


def ids(rows: list[FoundEvent]) -> list[UUID]:
    return [row.id for row in rows]


async def test_each_event_is_counted_over_all_of_its_queues(herd: Oxherd, records: Records) -> None:
    sharded = declared(herd, "order.placed", shards=3)
    plain = herd.declare("invoice.send", int)
    herd.declare("idle", int)
    async with herd:
        await failed(sharded, records, 6)
        for number in range(12):
            await sharded.emit(Order(number=number))
        await plain.emit(1, priority=2)
        await plain.emit(1, delay=3600)
        await plain.pause()
        placed, invoice, idle = await herd.admin.events()
    assert (placed.name, placed.waiting, placed.failed, len(placed.queues)) == ("order.placed", 12, 6, 3)
    assert placed.oldest_at is not None
    assert placed.oldest_seconds is not None
    assert 0 <= placed.oldest_seconds < 60
    assert placed.last_failed_at is not None
    assert (placed.paused, placed.paused_queues, placed.workers) == (False, 0, 0)
    assert (invoice.waiting, invoice.delayed, invoice.paused, invoice.paused_queues) == (1, 1, True, 1)
    assert invoice.next_due_at is not None
    assert (idle.waiting, idle.running, idle.failed, idle.oldest_at, idle.oldest_seconds) == (0, 0, 0, None, None)


async def test_a_worker_is_counted_with_what_it_runs(herd: Oxherd) -> None:
    begun, end = asyncio.Event(), asyncio.Event()

    @herd.event("order.placed")
    async def order_placed(number: int) -> None:
        begun.set()
        await end.wait()

    async with herd:
        emitted = await order_placed.emit(1)
        await order_placed.start()
        await begun.wait()

        async def is_seen() -> bool:
            (row,) = await herd.admin.events()
            return (row.running, row.workers) == (1, 1)

        await until(is_seen)
        (running,) = await herd.admin.find(state="running").all()
        assert running.id == emitted.id
        story = await herd.admin.show(emitted.id)
        assert story is not None
        assert story.state == "running"
        assert story.attempts[-1].worker == (await herd.admin.workers())[0].id
        assert story.attempts[-1].seconds is not None
        end.set()


async def test_failed_events_are_found_over_events_and_shards_the_newest_first(herd: Oxherd, records: Records) -> None:
    one, two = declared(herd, "one", shards=3), declared(herd, "two")
    async with herd:
        first = await failed(one, records, 5)
        second = await failed(two, records, 5)
        third = await failed(one, records, 3, first=7)
        found = await herd.admin.find().all()
        times = [row.ended_at for row in found if row.ended_at is not None]
        assert times == sorted(times, reverse=True)
        assert len(times) == 13
        assert {*ids(found)} == {each.id for each in (*first, *second, *third)}
        assert {*ids(await herd.admin.find("two").all())} == {each.id for each in second}
        assert ids(await herd.admin.find(limit=4).all()) == ids(found[:4])
        assert {row.event for row in found} == {"one", "two"}
        assert all(row.state == "failed" and row.attempt == 1 and row.outcome == "failed" for row in found)


async def test_an_error_is_found_by_its_class_and_its_text_as_it_is_shown(herd: Oxherd, records: Records) -> None:
    event = declared(herd)
    async with herd:
        emitted = await failed(event, records, 4)
        odd = {emitted[1].id, emitted[3].id}
        assert {*ids(await herd.admin.find(error_type="ValueError").all())} == odd
        assert {*ids(await herd.admin.find(error="NO STOCK").all())} == odd
        (third,) = await herd.admin.find("order.placed", error="ValueError: no stock of 3 for").all()
        assert third.id == emitted[3].id
        assert third.error is not None
        assert third.error.type == "ValueError"
        assert "alice" not in third.error.message
        assert ids(await herd.admin.find(error=third.error.message).all()).count(third.id) == 1
        assert await herd.admin.find(error="alice@example.com").all() == []
        assert await herd.admin.find(error_type="Value").all() == []


async def test_events_are_found_by_when_they_ended(herd: Oxherd, records: Records) -> None:
    event = declared(herd)
    async with herd:
        earlier = await failed(event, records, 3)
        (newest, *_) = await herd.admin.find().all()
        assert newest.ended_at is not None
        border = newest.ended_at + timedelta(milliseconds=1)
        await asyncio.sleep(0.01)
        later = await failed(event, records, 2, first=3)
        assert {*ids(await herd.admin.find(since=border).all())} == {each.id for each in later}
        assert {*ids(await herd.admin.find(until=newest.ended_at).all())} == {each.id for each in earlier}
        assert len(await herd.admin.find(since=3600).all()) == 5
        assert await herd.admin.find(until=timedelta(hours=1)).all() == []


@pytest.mark.parametrize("state", ["waiting", "delayed"])
async def test_what_waits_is_found_in_the_order_in_which_it_begins(herd: Oxherd, state: Any) -> None:
    event = herd.declare("order.placed", int)
    options: Any = {} if state == "waiting" else {"delay": 3600}
    async with herd:
        emitted = [await event.emit(number, **options) for number in range(5)]
        last = await event.emit(9, priority=5) if state == "waiting" else await event.emit(9, delay=7200)
        found = await herd.admin.find(state=state).all()
        assert ids(found)[:5] == [each.id for each in emitted]
        assert last.id in ids(found)
        assert found[0].age is not None
        assert found[0].due_at is not None


async def test_a_story_tells_every_attempt_and_its_cause(herd: Oxherd, records: Records) -> None:
    event = declared(herd, retry=Retry(attempts=3, delay=0.01))

    @herd.event("cause")
    async def cause(number: int) -> None:
        await event.emit(Order(number=number))

    async with herd:
        root = await cause.emit(7)
        await herd.start()
        await records.wait("event.end", event="order.placed", outcome="failed")
        await herd.stop()
    async with herd:
        (row,) = await herd.admin.find().all()
        story = await herd.admin.show(str(row.id))
        assert story is not None
        assert (story.event, story.state, story.attempt, story.attempts_allowed) == ("order.placed", "failed", 3, 3)
        assert (story.caused_by, story.root) == (root.id, root.id)
        assert [attempt.number for attempt in story.attempts] == [1, 2, 3]
        for attempt in story.attempts:
            assert attempt.error is not None
            assert attempt.error.type == "ValueError"
            assert attempt.error.message.startswith("no stock of 7 for ")
            assert attempt.stack
        assert story.attempts[2].seconds is not None
        assert story.attempts[2].worker == story.worker is not None
        assert story.payload == {"number": 7, "email": "a***@***"}
        assert story.payload_note is None
        assert any("caused in turn" in each for each in story.not_known)
        assert await herd.admin.show("00000000-0000-7000-8000-000000000000") is None
        effects = await herd.admin.effects(root.id)
        assert ids([*effects.events]) == [row.id]
        assert effects.searched_all
        assert (await herd.admin.effects(row.id)).events == ()


async def test_failed_events_are_retried_by_event_filter_and_id(herd: Oxherd, records: Records) -> None:
    one, two = declared(herd, "one", shards=3), declared(herd, "two")
    async with herd:
        first = await failed(one, records, 5)
        second = await failed(two, records, 4)
        summary = await herd.admin.retry(error_type="KeyError", event="one").run()
        assert (summary.done, summary.skipped, summary.complete, summary.problems) == (3, 0, True, ())
        assert {*ids(await herd.admin.find("one", state="waiting").all())} == {first[n].id for n in (0, 2, 4)}
        summary = await herd.admin.retry(ids=[second[0].id, str(second[1].id), first[0].id]).run()
        assert (summary.done, summary.skipped, summary.total) == (2, 1, 3)
        summary = await herd.admin.retry(everything=True).run()
        assert (summary.done, summary.total) == (4, 4)
        assert await herd.admin.find().all() == []
        assert len(await herd.admin.find(state="waiting").all()) == 9


async def test_failed_events_are_discarded(herd: Oxherd, records: Records) -> None:
    event = declared(herd)
    async with herd:
        emitted = await failed(event, records, 4)
        waiting = await event.emit(Order(number=1))
        summary = await herd.admin.discard("order.placed", error="no stock").run()
        assert summary.done == 2
        assert {*ids(await herd.admin.find().all())} == {emitted[0].id, emitted[2].id}
        assert await emitted[1].status() is None
        summary = await herd.admin.discard(ids=[waiting.id]).run()
        assert (summary.done, summary.skipped) == (0, 1)
        summary = await herd.admin.discard("order.placed", state="waiting").run()
        assert summary.done == 1
        with pytest.raises(EventCancelled):
            await waiting.result(timeout=10)


async def test_what_waits_is_cancelled_and_what_is_delayed_promoted(herd: Oxherd) -> None:
    event = herd.declare("order.placed", int, shards=2)
    async with herd:
        waiting = [await event.emit(number) for number in range(6)]
        delayed = [await event.emit(number, delay=3600) for number in range(4)]
        await event.schedule("nightly", Cron("0 2 * * *"), 1)
        summary = await herd.admin.promote("order.placed").run()
        assert (summary.done, summary.skipped) == (4, 1)
        assert "schedule" in summary.problems[0]
        assert len(await herd.admin.find(state="waiting").all()) == 10
        summary = await herd.admin.cancel("order.placed", reason="customer called").run()
        assert (summary.done, summary.skipped) == (10, 0)
        with pytest.raises(EventCancelled, match="customer called"):
            await waiting[0].result(timeout=10)
        with pytest.raises(EventCancelled):
            await delayed[0].result(timeout=10)


async def test_a_running_event_is_cancelled_and_not_discarded(herd: Oxherd, records: Records) -> None:
    begun = asyncio.Event()

    @herd.event("order.placed")
    async def order_placed(number: int) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with herd:
        emitted = await order_placed.emit(1)
        await order_placed.start()
        await begun.wait()
        assert (await herd.admin.discard(ids=[emitted.id], state="waiting").run()).done == 0
        assert (await herd.admin.cancel(ids=[emitted.id], reason="no more").run()).done == 1
        await records.wait("event.end", outcome="cancelled")


async def test_a_bulk_operation_is_stopped_and_gone_on_with(herd: Oxherd, records: Records) -> None:
    event = declared(herd, shards=3)
    async with herd:
        await failed(event, records, 12)
        bulk = herd.admin.retry("order.placed")
        assert await bulk.count() == 12
        seen: list[Progress] = []
        async for progress in bulk:
            seen.append(progress)
            bulk.stop()
        assert len(seen) == 1
        assert 0 < seen[0].done < 12
        assert bulk.summary.complete is False
        summary = await bulk.run()
        assert (summary.done, summary.total, summary.complete) == (12, 12, True)


async def test_what_fails_again_meanwhile_is_not_retried_by_the_same_call(herd: Oxherd, records: Records) -> None:
    event = declared(herd)
    async with herd:
        await failed(event, records, 4)
        await event.start()
        summary = await herd.admin.retry("order.placed").run()
        assert summary.done == 4


async def test_a_ticks_event_is_shown_and_retried_by_its_derived_id(herd: Oxherd, records: Records) -> None:
    event = declared(herd)
    async with herd:
        await event.schedule("often", Cron("* * * * * *"), Order(number=1))
        await event.start()
        await records.wait("event.end", outcome="failed")
        await event.unschedule("often")
        await event.stop()
        found = await herd.admin.find().all()
        assert found[0].id.version == 5
        story = await herd.admin.show(found[0].id)
        assert story is not None
        assert story.schedule == "often"
        assert (await herd.admin.retry(ids=[found[0].id]).run()).done == 1


async def test_what_waits_under_a_renamed_event_is_moved(herd: Oxherd, make_herd: Any, url: str) -> None:
    old = make_herd(url)
    renamed = old.declare("order.placed", Order, shards=2)
    async with old:
        waiting = [await renamed.emit(Order(number=number)) for number in range(8)]
        late = await renamed.emit(Order(number=8), delay=3600)
        urgent = await renamed.emit(Order(number=9), priority=3)
        status = await late.status()
        assert status is not None
    new = herd.declare("order.accepted", Order)
    async with herd:
        (unknown,) = await herd.admin.unknown_queues()
        assert (unknown.name, unknown.waiting, unknown.delayed) == ("{order.placed}", 9, 1)
        assert len(unknown.queues) == 2
        move = herd.admin.move("{order.placed}", "order.accepted")
        assert await move.count() == 10
        summary = await move.run()
        assert (summary.done, summary.skipped, summary.problems) == (10, 0, ())
        (unknown,) = await herd.admin.unknown_queues()
        assert (unknown.waiting, unknown.delayed) == (0, 0)
        found = await herd.admin.find("order.accepted", state="waiting").all()
        assert {*ids(found)} == {each.id for each in (*waiting, urgent)}
        assert all(row.event == "order.accepted" for row in found)
        (delayed,) = await herd.admin.find(state="delayed").all()
        assert (delayed.id, delayed.due_at) == (late.id, status.due_at)
        assert delayed.emitted_at == status.emitted_at
        story = await herd.admin.show(urgent.id)
        assert story is not None
        assert story.priority == 3
        got: list[int] = []

        @new.process
        async def accepted(order: Order, ctx: Context) -> None:
            got.append(order.number)

        await new.start()
        await until(lambda: len(got) == 9)
    assert sorted(got) == [0, 1, 2, 3, 4, 5, 6, 7, 9]


async def test_schedules_of_all_events_are_listed_run_and_paused(herd: Oxherd) -> None:
    one, two = herd.declare("one", int), herd.declare("two", int)
    async with herd:
        await one.schedule("nightly", Cron("0 2 * * *"), 1)
        await two.schedule("hourly", Cron("0 * * * *"), 2)
        rows = await herd.admin.schedules()
        assert {(row.event, row.info.name) for row in rows} == {("one", "nightly"), ("two", "hourly")}
        await herd.admin.pause_schedule("one", "nightly")
        (row,) = await herd.admin.schedules("one")
        assert row.info.paused
        assert [row.event for row in await herd.admin.schedules()] == ["two", "one"]
        await herd.admin.resume_schedule("one", "nightly")
        emitted = await herd.admin.run_schedule("two", "hourly")
        assert ids(await herd.admin.find("two", state="waiting").all()) == [emitted.id]


async def test_completed_events_are_found_and_pause_and_resume_act_on_an_event(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed", keep=Keep(completed=10))
    async def order_placed(number: int) -> str:
        return "receipt"

    async with herd:
        await herd.admin.pause("order.placed")
        emitted = await order_placed.emit(1)
        await order_placed.start()
        await herd.admin.resume("order.placed")
        await records.wait("event.end", outcome="completed")
        (row,) = await herd.admin.find(state="completed").all()
        assert (row.id, row.outcome, row.error) == (emitted.id, None, None)
        story = await herd.admin.show(emitted.id)
        assert story is not None
        assert (story.state, story.outcome) == ("completed", "completed")
        assert story.payload_note == "neither a sanitiser nor masks say what may be shown"


async def test_events_of_a_shared_queue_are_told_apart(herd: Oxherd, records: Records) -> None:
    one = declared(herd, "one", queue="{shared}")
    two = declared(herd, "two", queue="{shared}")
    async with herd:
        first = [await one.emit(Order(number=number)) for number in range(3)]
        second = [await two.emit(Order(number=number)) for number in range(2)]
        row, _ = await herd.admin.events()
        assert (row.waiting, row.shared_with) == (5, ("two",))
        assert ids(await herd.admin.find("one", state="waiting").all()) == [each.id for each in first]
        assert len(await herd.admin.find(state="waiting").all()) == 5
        assert (await herd.admin.cancel("two").run()).done == 2
        assert ids(await herd.admin.find(state="waiting").all()) == [each.id for each in first]
        assert [await each.status() for each in second] == [None, None]
        assert await herd.admin.show(first[0].id, event="two") is None
        summary = await herd.admin.cancel("two", ids=[first[0].id]).run()
        assert (summary.done, summary.skipped) == (0, 1)


async def test_a_spent_rate_and_a_rest_are_told_with_their_end(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed", rate=Rate(1, per=60))
    async def order_placed(number: int) -> None: ...

    @herd.event("invoice.send", retry=Retry(attempts=1))
    async def invoice_send(number: int) -> None:
        raise RateLimited(60)

    async with herd:
        await order_placed.emit_many([1, 2])
        await invoice_send.emit(1)
        await herd.start()
        await records.wait("event.end", event="order.placed")
        await records.wait("event.end", event="invoice.send")
        placed, invoice = await herd.admin.events()
        assert placed.limits == Limits(Rate(1, per=60))
        assert (placed.waiting, invoice.waiting) == (1, 1)
        for row in (placed, invoice):
            assert row.limited_until is not None
            assert 0 < (row.limited_until - datetime.now(UTC)).total_seconds() <= 60
        await herd.admin.set_limits("order.placed", rate=None, max_running=3)
        assert await herd.admin.limits("order.placed") == Limits(None, 3)
        await records.wait("event.end", 2, event="order.placed")
        placed, _ = await herd.admin.events()
        assert (placed.limits, placed.limited_until) == (Limits(None, 3), None)
