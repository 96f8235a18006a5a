"""`Emitted.cancel`: what waits is removed, what runs hears of it, on every kind of server."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from oxherd import (
    Cancelled,
    Context,
    Cron,
    Discard,
    EventCancelled,
    Failure,
    Keep,
    Oxherd,
    Retry,
    UsageError,
)
from oxherd.bullmq.inspection import stored_keys
from oxherd.bullmq.queue import BullQueue
from oxherd.emitted import Emitted
from tests.harness import Records, until

OWN_KEYS = {"events", "id", "marker", "meta", "stalled", "stalled-check", "pc", "repeat"}
WHY = "customer called"


async def queue_of(herd: Oxherd, event: str = "order.placed") -> BullQueue:
    return (await herd.backend()).queue(herd[event].declaration)


async def left(queue: BullQueue) -> set[str]:
    """The keys of a queue that are not its own, nor its workers' or of its history."""
    return {
        key for key in await stored_keys(queue) if key not in OWN_KEYS and not key.startswith(("worker:", "history:"))
    }


async def call(queue: BullQueue, command: str, key: str, *arguments: Any) -> Any:
    return await queue.client.call(queue.keys.slot, command, queue.keys.base + key, *arguments)


async def is_cancelled(emitted: Emitted[Any], reason: str = WHY) -> None:
    """Whoever waits for it hears why."""
    with pytest.raises(EventCancelled) as raised:
        await emitted.result(timeout=10)
    assert raised.value.reason == reason
    assert str(raised.value) == f"{emitted.event}: {emitted.id} was cancelled{': ' if reason else ''}{reason}."


@pytest.mark.parametrize("options", [{}, {"delay": 3600}, {"priority": 3}], ids=str)
async def test_an_event_that_waits_is_removed_and_leaves_an_answer(
    herd: Oxherd, records: Records, options: dict[str, Any]
) -> None:
    ran: list[int] = []

    @herd.event("order.placed")
    async def order_placed(order: int) -> None:
        ran.append(order)

    async with herd:
        emitted = await order_placed.emit(1, **options)
        waiting = asyncio.create_task(is_cancelled(emitted))
        assert await order_placed.emitted(emitted.id).cancel(WHY) is True
        await waiting
        await is_cancelled(order_placed.emitted(emitted.id))
        assert await emitted.status() is None
        assert await emitted.cancel() is False, "it has been cancelled"
        queue = await queue_of(herd)
        assert await left(queue) == {f"answer:{emitted.id}"}
        await order_placed.start()
        await (await order_placed.emit(2)).result(timeout=10)
    assert ran == [2]


async def test_the_event_stream_says_once_that_it_is_removed_and_why(herd: Oxherd) -> None:
    order_placed = herd.declare("order.placed", int)
    async with herd:
        emitted = await order_placed.emit(1, delay=60)
        await emitted.cancel(WHY)
        entries = await call(await queue_of(herd), "XRANGE", "events", "-", "+")
    removed = [dict(zip(flat[::2], flat[1::2], strict=True)) for _, flat in entries if flat[1] == b"removed"]
    assert removed == [
        {b"event": b"removed", b"jobId": str(emitted.id).encode(), b"prev": b"delayed", b"ox:cancelled": WHY.encode()}
    ]


async def test_who_follows_it_hears_that_it_was_cancelled(herd: Oxherd) -> None:
    order_placed = herd.declare("order.placed", int)
    async with herd:
        emitted = await order_placed.emit(1)
        updates = emitted.updates()
        following = asyncio.create_task(anext(updates))
        await asyncio.sleep(0)
        await emitted.cancel(WHY)
        update = await following
        assert (update.kind, update.outcome) == ("ended", "cancelled")
        await updates.aclose()


async def test_a_cancelled_id_may_be_emitted_again(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed")
    async def order_placed(order: int) -> int:
        return order

    async with herd:
        first = await order_placed.emit(1)
        await first.cancel()
        again = await order_placed.emit(2, id=first.id)
        await order_placed.start()
        await records.wait("event.end")
        assert await again.result(timeout=10) == 2, "what it became then counts, also if it is asked for late"


@pytest.mark.parametrize("delay", [0, 60])
async def test_once_holds_for_a_cancelled_event_as_well(herd: Oxherd, delay: int) -> None:
    order_placed = herd.declare("order.placed", int, once=3600)
    async with herd:
        emitted = await order_placed.emit(1, delay=delay)
        assert await emitted.cancel(WHY)
        again = await order_placed.emit(2, id=emitted.id)
        assert await again.status() is None, "what comes twice does not bring it back"
        await is_cancelled(again)


async def test_an_event_of_a_paused_queue_is_removed(herd: Oxherd) -> None:
    order_placed = herd.declare("order.placed", int)
    async with herd:
        queue = await queue_of(herd)
        await call(queue, "HSET", "meta", "paused", 1)
        emitted = await order_placed.emit(1)
        older = await order_placed.emit(2)
        # As BullMQ kept them before its version 6.
        await call(queue, "LREM", "wait", 1, str(older.id))
        await call(queue, "LPUSH", "paused", str(older.id))
        assert await emitted.cancel()
        assert await older.cancel()
        assert await left(queue) == {f"answer:{emitted.id}", f"answer:{older.id}"}


async def test_a_running_event_hears_of_it_within_a_second_and_is_not_tried_again(
    herd: Oxherd, records: Records
) -> None:
    heard: list[tuple[object, float]] = []

    @herd.event("order.placed", retry=Retry(attempts=3, delay=0))
    async def order_placed(order: int, ctx: Context) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError as error:
            heard.append((error.args[0], time.monotonic()))
            assert ctx.cancelled is error.args[0]  # noqa: PT017 - the handler's own
            raise

    async with herd:
        emitted = await order_placed.emit(1)
        await order_placed.start()
        await records.wait("event.begin")
        asked_at = time.monotonic()
        assert await emitted.cancel(WHY)
        assert await emitted.cancel("too late to be the reason")
        (end,) = await records.wait("event.end", event_id=emitted.id)
        await is_cancelled(emitted)
        queue = await queue_of(herd)
        failed = await call(queue, "HMGET", str(emitted.id), "failedReason", "ox:cancel", "ox:end")
        assert await emitted.cancel() is False
        status = await emitted.status()
        assert await left(queue) == {"failed", str(emitted.id)}, "nothing waits to be told"
    assert heard[0][0] == Cancelled(WHY)
    assert heard[0][1] - asked_at < 1
    assert (end.outcome, end.levelname) == ("cancelled", "INFO")
    assert end.error == {"type": "Cancelled", "message": f"the event was cancelled: {WHY}"}
    assert failed[:2] == [f"the event was cancelled: {WHY}".encode(), None]
    assert failed[2].startswith(b"cancelled Cancelled ")
    assert status is not None
    assert (status.state, status.outcome) == ("failed", "cancelled")
    assert status.error is not None
    assert status.error.type == "Cancelled"
    assert len(records.named("event.begin")) == 1


@pytest.mark.parametrize("raised", [ValueError("while it ended"), Discard("no use")], ids=repr)
async def test_whatever_it_raises_then_it_is_cancelled(herd: Oxherd, records: Records, raised: Exception) -> None:
    @herd.event("order.placed")
    async def order_placed(order: int) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise raised

    async with herd:
        emitted = await order_placed.emit(1)
        await order_placed.start()
        await records.wait("event.begin")
        await emitted.cancel()
        (end,) = await records.wait("event.end")
        await is_cancelled(emitted, "")
    assert end.outcome == "cancelled"
    assert end.error["message"] == "the event was cancelled"
    assert "order_placed" in end.error["stack"][-1], "where it raised is told"


async def test_a_handler_that_ends_its_work_all_the_same_completes_and_is_told_once(
    herd: Oxherd, records: Records
) -> None:
    heard: list[object] = []

    @herd.event("order.placed")
    async def order_placed(order: int, ctx: Context) -> str:
        end = time.monotonic() + 1.6
        while (rest := end - time.monotonic()) > 0:
            try:
                await asyncio.sleep(rest)
            except asyncio.CancelledError:
                heard.append(ctx.cancelled)
        return "done"

    async with herd:
        emitted = await order_placed.emit(1)
        await order_placed.start()
        await records.wait("event.begin")
        assert await emitted.cancel(WHY)
        assert await emitted.result(timeout=10) == "done"
        await records.wait("event.end", outcome="completed")
        assert await left(await queue_of(herd)) <= {f"answer:{emitted.id}"}
    assert heard == [Cancelled(WHY)]


async def test_a_handler_that_cancels_itself_fails_like_any_other(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed", retry=Retry(attempts=2, delay=0))
    async def order_placed(order: int) -> None:
        raise asyncio.CancelledError

    async with herd:
        await order_placed.emit(1)
        await order_placed.start()
        await records.wait("event.end", outcome="retrying")
        await records.wait("event.end", outcome="failed")


async def test_one_that_fails_before_it_has_heard_is_not_tried_again(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed", retry=Retry(attempts=3, delay=3600))
    async def order_placed(order: int) -> None:
        await herd["order.placed"].emitted(emitted.id).cancel(WHY)
        raise ValueError("no")

    async with herd:
        emitted = await order_placed.emit(1)
        await order_placed.start()
        await is_cancelled(emitted)
        (end,) = await records.wait("event.end")
        assert await left(await queue_of(herd)) == {"failed", str(emitted.id), f"answer:{emitted.id}"}
    assert end.outcome == "cancelled"


async def test_one_that_waits_for_its_retry_is_removed(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed", retry=Retry(attempts=3, delay=3600))
    async def order_placed(order: int) -> None:
        raise ValueError("no")

    async with herd:
        emitted = await order_placed.emit(1)
        await order_placed.start()
        await records.wait("event.end", outcome="retrying")
        assert await emitted.cancel(WHY)
        await is_cancelled(emitted)
        assert await left(await queue_of(herd)) == {f"answer:{emitted.id}"}


async def test_an_operators_retry_of_a_cancelled_event_runs_it(herd: Oxherd, records: Records) -> None:
    runs = 0

    @herd.event("order.placed")
    async def order_placed(order: int) -> str:
        nonlocal runs
        runs += 1
        if runs == 1:
            await asyncio.sleep(60)
        return "done"

    async with herd:
        emitted = await order_placed.emit(1)
        await order_placed.start()
        await records.wait("event.begin")
        await emitted.cancel(WHY)
        await is_cancelled(emitted)
        queue = await queue_of(herd)
        # As BullMQ's reprocessJob does.
        await call(queue, "ZREM", "failed", str(emitted.id))
        await call(queue, "HDEL", str(emitted.id), "finishedOn", "processedOn", "failedReason")
        await call(queue, "LPUSH", "wait", str(emitted.id))
        await queue.wake()
        assert await emitted.result(timeout=10) == "done"


async def test_one_that_was_cancelled_while_it_ran_elsewhere_is_not_run_again(herd: Oxherd, records: Records) -> None:
    ran: list[int] = []

    @herd.event("order.placed")
    async def order_placed(order: int) -> None:
        ran.append(order)

    async with herd:
        emitted = await order_placed.emit(1)
        queue = await queue_of(herd)
        # Begun by a worker that stops: it puts it back.
        fetched = await queue.fetch("other:1", 30_000)
        assert fetched.job is not None
        assert await emitted.cancel(WHY)
        await queue.requeue(str(emitted.id), "other:1")
        await order_placed.start()
        await is_cancelled(emitted)
        (record,) = await records.wait("event.cancelled", event_id=emitted.id, attempt=1)
        assert await left(queue) <= {"failed", str(emitted.id), f"answer:{emitted.id}"}
    assert ran == []
    assert not records.named("event.begin")
    assert not records.named("queue.error")
    assert record.levelname == "INFO"


async def test_nobody_is_told_of_a_failure_that_was_asked_for(herd: Oxherd, records: Records) -> None:
    told: list[int] = []

    @herd.event("order.failed")
    async def order_failed(failure: Failure[int]) -> None:
        told.append(failure.payload)

    @herd.event("order.placed", on_failed=order_failed, retry=Retry(attempts=1))
    async def order_placed(order: int) -> None:
        if order == 3:
            raise ValueError("no")
        await asyncio.sleep(60)

    async with herd:
        queue = await queue_of(herd)
        before = await order_placed.emit(1)
        await call(queue, "HSET", str(before.id), "ox:cancel", WHY)
        await herd.start()
        await is_cancelled(before)
        running = await order_placed.emit(2)
        await records.wait("event.begin", event_id=running.id)
        await running.cancel()
        await is_cancelled(running, "")
        await order_placed.emit(3)
        await records.wait("event.end", event="order.failed")
    assert told == [3]


async def test_one_that_is_put_back_while_its_queue_is_paused_can_be_cancelled(herd: Oxherd) -> None:
    order_placed = herd.declare("order.placed", int)
    async with herd:
        queue = await queue_of(herd)
        emitted = await order_placed.emit(1)
        await queue.fetch("other:1", 30_000)
        assert await emitted.cancel(WHY)
        await call(queue, "HSET", "meta", "paused", 1)
        await queue.requeue(str(emitted.id), "other:1")
        assert await emitted.cancel(WHY), "it waits again, and is removed"
        await is_cancelled(emitted)


async def test_the_next_event_follows_one_that_is_not_run(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed", concurrency=1)
    async def order_placed(order: int) -> int:
        if order == 0:
            await emitteds[1].cancel()
        return order

    async with herd:
        emitteds = [await order_placed.emit(number) for number in range(4)]
        queue = await queue_of(herd)
        await call(queue, "HSET", str(emitteds[2].id), "ox:cancel", WHY)
        await order_placed.start()
        assert await emitteds[3].result(timeout=10) == 3
        await is_cancelled(emitteds[1], "")
        await is_cancelled(emitteds[2])


async def test_one_that_waits_for_admission_is_cancelled(herd: Oxherd, records: Records) -> None:
    """Two events of one queue: the second of `slow` holds no slot, and waits for its event's own limit."""
    go_on = asyncio.Event()

    @herd.event("slow", queue="{orders}", concurrency=1)
    async def slow(order: int) -> None:
        await go_on.wait()

    @herd.event("other", queue="{orders}", concurrency=2)
    async def other(order: int) -> None: ...

    async with herd:
        first = await slow.emit(1)
        await herd.start()
        await records.wait("event.begin", event_id=first.id)
        second = await slow.emit(2)

        async def is_fetched() -> bool:
            status = await second.status()
            return status is not None and status.state == "running"

        await until(is_fetched)
        assert await second.cancel(WHY)
        await is_cancelled(second)
        go_on.set()
        await first.result(timeout=10)
    assert not records.named("event.begin", event_id=second.id)


async def test_an_ordered_queue_goes_on_when_the_event_is_cancelled_whose_retry_it_waits_for(
    herd: Oxherd, records: Records
) -> None:
    ran: list[int] = []

    @herd.event("order.placed", ordered=True, retry=Retry(attempts=3, delay=3600))
    async def order_placed(order: int) -> None:
        ran.append(order)
        if order == 1:
            raise ValueError("no")

    async with herd:
        first, second, third = [await order_placed.emit(number) for number in (1, 2, 3)]
        await order_placed.start()
        await records.wait("event.end", outcome="retrying")
        await second.cancel()
        queue = await queue_of(herd)
        assert await call(queue, "EXISTS", "held"), "another one that is cancelled lets nothing go on"
        assert await first.cancel(WHY)
        began = time.monotonic()
        await third.result(timeout=10)
        assert time.monotonic() - began < 2
    assert ran == [1, 3]


async def test_a_running_ordered_event_is_cancelled_and_the_next_one_begins(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed", ordered=True)
    async def order_placed(order: int) -> None:
        if order == 1:
            await asyncio.sleep(60)

    async with herd:
        first, second = await order_placed.emit(1), await order_placed.emit(2)
        await order_placed.start()
        await records.wait("event.begin")
        await first.cancel(WHY)
        await second.result(timeout=10)
        await is_cancelled(first)


def text_of(order: int) -> str:
    return str(order)


@pytest.mark.parametrize("key", [None, text_of], ids=["by id", "by key"])
async def test_a_shard_that_has_it_is_found(herd: Oxherd, records: Records, key: Any) -> None:
    @herd.event("order.placed", shards=4, key=key)
    async def order_placed(order: int) -> None:
        if order < 6:
            await asyncio.sleep(60)

    async with herd:
        waiting = [await order_placed.emit(number, delay=60) for number in range(6)]
        for emitted in waiting:
            assert await order_placed.emitted(emitted.id).cancel(WHY)
            await is_cancelled(emitted)
        running = [await order_placed.emit(number) for number in range(6)]
        await order_placed.start()
        await records.wait("event.begin", count=6)
        assert all(await asyncio.gather(*(emitted.cancel(WHY) for emitted in running)))
        for emitted in running:
            await is_cancelled(emitted)


async def test_a_shared_queue_has_it_and_only_its_own_event_cancels_it(herd: Oxherd) -> None:
    first = herd.declare("order.placed", int, queue="{orders}")
    second = herd.declare("order.shipped", int, queue="{orders}")
    async with herd:
        emitted = await first.emit(1)
        assert not await second.emitted(emitted.id).cancel("not mine")
        assert await emitted.status() is not None
        assert await emitted.cancel(WHY)
        await is_cancelled(emitted)


async def test_what_has_ended_or_never_was_is_nothing_to_cancel(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed", keep=Keep(completed=10), retry=Retry(attempts=1))
    async def order_placed(order: int) -> None:
        if order:
            raise ValueError("no")

    async with herd:
        await order_placed.start()
        completed, failed = await order_placed.emit(0), await order_placed.emit(1)
        await records.wait("event.end", count=2)
        assert [await each.cancel() for each in (completed, failed, order_placed.emitted("never-was"))] == [False] * 3
        assert await left(await queue_of(herd)) == {"completed", "failed", str(completed.id), str(failed.id)}


async def test_of_two_cancels_at_once_one_removes_it(herd: Oxherd) -> None:
    order_placed = herd.declare("order.placed", int)
    async with herd:
        emitted = await order_placed.emit(1)
        assert sorted(await asyncio.gather(*(emitted.cancel() for _ in range(5)))) == [False] * 4 + [True]


async def test_events_cancelled_as_they_run_end_once_and_in_one_way(herd: Oxherd, records: Records) -> None:
    done: set[str] = set()

    @herd.event("order.placed", concurrency=5)
    async def order_placed(order: int, ctx: Context) -> int:
        await asyncio.sleep(0.002 * (order % 4))
        done.add(str(ctx.id))
        return order

    async with herd:
        emitteds = await order_placed.emit_many(range(200))
        results = [asyncio.create_task(emitted.result(timeout=20)) for emitted in emitteds]
        await order_placed.start()
        replies = await asyncio.gather(*(emitted.cancel() for emitted in reversed(emitteds)))
        ends = await asyncio.gather(*results, return_exceptions=True)
        queue = await queue_of(herd)
        await until(lambda: left_is_failed(queue))
    for number, (emitted, end, was_cancelled) in enumerate(zip(emitteds, ends, reversed(replies), strict=True)):
        if isinstance(end, EventCancelled):
            assert was_cancelled
        else:
            assert end == number
            assert str(emitted.id) in done


async def left_is_failed(queue: BullQueue) -> bool:
    """Whether nothing is left but answers, and what was cancelled as it ran."""
    counts = await queue.counts()
    return not counts["wait"] and not counts["active"] and not await call(queue, "EXISTS", "cancels")


async def test_a_schedules_pending_tick_is_not_removed(herd: Oxherd) -> None:
    order_placed = herd.declare("order.placed", int)
    async with herd:
        await order_placed.schedule("nightly", Cron("0 2 * * *"), 1)
        queue = await queue_of(herd)
        ((tick,),) = [await call(queue, "ZRANGE", "delayed", 0, -1)]
        emitted = order_placed.emitted(tick.decode())
        with pytest.raises(UsageError, match=r"is a schedule's next tick.*unschedule\(\)\.$"):
            await emitted.cancel()
        assert await call(queue, "ZRANGE", "delayed", 0, -1) == [tick]
        await order_placed.unschedule("nightly")
        assert await emitted.cancel() is False


async def test_an_idle_worker_does_not_look_for_what_is_cancelled(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed")
    async def order_placed(order: int) -> None: ...

    async with herd:
        await order_placed.start()
        await (await order_placed.emit(1)).result(timeout=10)
        queue = await queue_of(herd)
        # A leftover: the set of a worker that is idle is looked at by nobody.
        await call(queue, "SADD", "cancels", "gone")
        await asyncio.sleep(1.2)
        assert await call(queue, "SMEMBERS", "cancels") == [b"gone"]
        emitted = await order_placed.emit(2, delay=60)
        fetched = await order_placed.emit(3, delay=60)
        await call(queue, "LPUSH", "active", str(fetched.id))
        await emitted.cancel()
        await fetched.cancel()
        assert await call(queue, "SMEMBERS", "cancels") == [str(fetched.id).encode()], "a cancel takes leftovers off"
        await call(queue, "LREM", "active", 1, str(fetched.id))
