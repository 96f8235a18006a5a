"""Emit, process, settle: what holds on every kind of server."""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, SecretStr

from oxherd import (
    Context,
    DeclarationError,
    Discard,
    InvalidPayload,
    Keep,
    Mask,
    Oxherd,
    PayloadTooLarge,
    Retry,
    UsageError,
)
from oxherd.bullmq.inspection import stored_keys
from tests.harness import Records, until


class Order(BaseModel):
    order_id: int
    email: Annotated[str, Mask("email")] = "alice@example.com"
    card: SecretStr = SecretStr("4111-1111-1111-1111")


OWN_KEYS = {"events", "id", "marker", "meta", "stalled", "stalled-check", "pc"}


async def left(herd: Oxherd, event: str) -> set[str]:
    """The keys of an event's queue that are not the queue's own."""
    backend = await herd.backend()
    keys = await stored_keys(backend.queue(herd[event].declaration))
    return {key for key in keys if not key.startswith(("worker:", "history:"))} - OWN_KEYS


async def failed_reason(herd: Oxherd, event: str, job: object) -> str:
    return await stored(herd, event, job, "failedReason")


async def stored(herd: Oxherd, event: str, job: object, field: str) -> str:
    backend = await herd.backend()
    keys = backend.queue(herd[event].declaration).keys
    return (await backend.client.call(keys.slot, "HGET", keys.job(str(job)), field)).decode()


async def test_an_emitted_event_reaches_its_handler_whole_and_leaves_nothing_behind(
    herd: Oxherd, records: Records
) -> None:
    seen: list[tuple[Order, Context]] = []

    @herd.event("order.placed")
    async def order_placed(order: Order, ctx: Context) -> str:
        seen.append((order, ctx))
        return "receipt"

    before = datetime.now(UTC)
    async with herd:
        emitted = await order_placed.emit(Order(order_id=7))
        assert isinstance(emitted.id, uuid.UUID)
        assert emitted.id.version == 7
        await order_placed.start()
        await records.wait("event.end", outcome="completed", event_id=emitted.id)
        assert await left(herd, "order.placed") == set()
    order, ctx = seen[0]
    assert order.card.get_secret_value() == "4111-1111-1111-1111"
    assert (ctx.id, ctx.event, ctx.attempt, ctx.fence, ctx.cancelled) == (emitted.id, "order.placed", 1, 1, None)
    assert abs(ctx.emitted_at - before) < timedelta(seconds=5)


async def test_every_begin_has_one_end_and_the_records_between_carry_the_id(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed")
    async def order_placed(order: Order, ctx: Context) -> None:
        ctx.log.info("bound")
        logging.getLogger("shop").warning("of any logger")

    @herd.event("order.shipped")
    def order_shipped(order: Order) -> None:
        logging.getLogger("shop").warning("in a thread")

    async with herd:
        first = await order_placed.emit(Order(order_id=1))
        second = await order_shipped.emit(Order(order_id=2))
        await herd.start()
        await records.wait("event.end", count=2, outcome="completed")
        await herd.stop()
    for emitted, texts in ((first, ["bound", "of any logger"]), (second, ["in a thread"])):
        mine = [r.getMessage() for r in records.all if getattr(r, "event_id", None) == str(emitted.id)]
        assert mine == ["event.begin", *texts, "event.end"]
    for text in ("bound", "of any logger", "in a thread"):
        (record,) = records.named(text)
        assert vars(record)["attempt"] == 1
        assert vars(record)["event"] in ("order.placed", "order.shipped")
    logging.getLogger("shop").warning("outside")
    assert not hasattr(records.named("outside")[0], "event_id")


async def test_a_failing_event_is_tried_again_and_then_kept_as_failed(herd: Oxherd, records: Records) -> None:
    attempts: list[tuple[int, int]] = []

    @herd.event("order.placed", retry=Retry(attempts=3, delay=0.05, jitter=0))
    async def order_placed(order: Order, ctx: Context) -> None:
        attempts.append((ctx.attempt, ctx.fence))
        raise ValueError(f"no money on {order.card.get_secret_value()} of {order.email}")

    async with herd:
        emitted = await order_placed.emit(Order(order_id=1))
        await herd.start()
        (end,) = await records.wait("event.end", outcome="failed", event_id=emitted.id)
        assert end.error["type"] == "ValueError"
        assert end.error["message"] == "no money on *** of ***"
        assert attempts == [(1, 1), (2, 2), (3, 3)]
        assert len(records.named("event.end", outcome="retrying")) == 2
        assert await left(herd, "order.placed") == {"failed", str(emitted.id)}
        assert await failed_reason(herd, "order.placed", emitted.id) == "no money on *** of ***"


async def test_an_event_can_be_discarded_and_is_completed_without_a_result_that_is_no_json(
    herd: Oxherd, records: Records
) -> None:
    @herd.event("order.placed", keep=Keep(completed=10))
    async def order_placed(order: Order) -> Any:
        if order.order_id == 1:
            raise Discard("it is obsolete")
        return object()

    async with herd:
        first = await order_placed.emit(Order(order_id=1))
        second = await order_placed.emit(Order(order_id=2))
        await herd.start()
        (end,) = await records.wait("event.end", outcome="discarded", event_id=first.id)
        assert end.error["message"] == "it is obsolete"
        (dropped,) = await records.wait("result.dropped", event_id=second.id)
        assert dropped.levelname == "WARNING"
        assert "of type object" in dropped.error["message"]
        await records.wait("event.end", outcome="completed", event_id=second.id)
        assert await stored(herd, "order.placed", second.id, "returnvalue") == "null"
        assert not records.named("event.end", outcome="retrying")


async def test_a_run_that_takes_too_long_is_cancelled(herd: Oxherd, records: Records) -> None:
    reasons: list[object] = []

    @herd.event("order.placed", timeout=0.1, retry=Retry(attempts=1))
    async def order_placed(order: Order, ctx: Context) -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError as error:
            reasons.extend([error.args[0], ctx.cancelled])
            raise

    @herd.event("order.shipped", timeout=0.1, retry=Retry(attempts=1))
    def order_shipped(order: Order, ctx: Context) -> None:
        while ctx.cancelled is None:
            threading.Event().wait(0.01)
        raise RuntimeError("told to stop")

    async with herd:
        await order_placed.emit(Order(order_id=1))
        await order_shipped.emit(Order(order_id=1))
        await herd.start()
        ends = await records.wait("event.end", count=2, outcome="timed_out")
        assert {end.event for end in ends} == {"order.placed", "order.shipped"}
    assert str(reasons[0]) == "timed out after 0.1 s"
    assert reasons[0] is reasons[1]


async def test_a_handler_that_cancels_itself_is_a_failure_like_another(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed", retry=Retry(attempts=2, delay=0))
    async def order_placed(order: Order, ctx: Context) -> None:
        if ctx.attempt == 1:
            raise asyncio.CancelledError
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    async with herd:
        emitted = await order_placed.emit(Order(order_id=1))
        await herd.start()
        await records.wait("event.end", outcome="failed", event_id=emitted.id, attempt=2)
        assert len(records.named("event.end", outcome="retrying")) == 1


async def test_no_more_run_at_once_than_the_concurrency_says(herd: Oxherd, records: Records) -> None:
    running = peak = 0

    @herd.event("order.placed", concurrency=3)
    async def order_placed(order: Order) -> None:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0.01)
        running -= 1

    async with herd:
        await order_placed.emit_many([Order(order_id=i) for i in range(30)])
        await herd.start()
        await records.wait("event.end", count=30, outcome="completed")
    assert peak == 3


async def test_priorities_are_served_in_order_and_delays_are_kept(herd: Oxherd, records: Records) -> None:
    order_seen: list[int] = []

    @herd.event("order.placed", concurrency=1)
    async def order_placed(order: Order) -> None:
        order_seen.append(order.order_id)

    async with herd:
        for priority in (2, 1, 0):
            await order_placed.emit(Order(order_id=priority), priority=priority)
        begun = datetime.now(UTC)
        late = await order_placed.emit(Order(order_id=9), delay=timedelta(milliseconds=400))
        await herd.start()
        (end,) = await records.wait("event.begin", event_id=late.id)
        waited = end.created - begun.timestamp()
        assert 0.39 <= waited < 1.4
    assert order_seen == [0, 1, 2, 9]


async def test_the_same_id_makes_no_second_event_while_the_first_is_stored(herd: Oxherd, records: Records) -> None:
    runs: list[int] = []

    @herd.event("order.placed")
    async def order_placed(order: Order) -> None:
        runs.append(order.order_id)

    async with herd:
        same = uuid.uuid4()
        assert (await order_placed.emit(Order(order_id=1), id=same)).id == same
        await order_placed.emit(Order(order_id=2), id=same)
        await herd.start()
        await records.wait("event.end", outcome="completed", event_id=same)
        await herd.stop()
    assert runs == [1]


async def test_wrong_payloads_are_refused_and_nothing_is_sent(herd: Oxherd) -> None:
    event = herd.declare("order.placed", Order, max_payload=200)
    async with herd:
        bad: Any = {"order_id": "seven", "email": "bob@example.com"}
        with pytest.raises(InvalidPayload, match="order_id") as caught:
            await event.emit(bad)
        assert "seven" not in str(caught.value)
        assert "bob" not in str(caught.value)
        with pytest.raises(InvalidPayload):
            await event.emit_many([Order(order_id=1), bad])
        with pytest.raises(PayloadTooLarge, match="200"):
            await event.emit(Order(order_id=1, email="x" * 300))
        with pytest.raises(DeclarationError, match="delay"):
            await event.emit(Order(order_id=1), delay=-1)
        with pytest.raises(UsageError, match="id"):
            await event.emit(Order(order_id=1), id="no-uuid")  # pyright: ignore[reportArgumentType]
        assert await left(herd, "order.placed") == set()


async def test_many_are_emitted_in_order_and_from_code_without_a_loop(herd: Oxherd, records: Records) -> None:
    seen: list[int] = []

    @herd.event("order.placed", concurrency=1)
    async def order_placed(order: Order) -> None:
        seen.append(order.order_id)

    def without_a_loop() -> None:
        order_placed.emit_sync(Order(order_id=0))
        assert len(order_placed.emit_many_sync([Order(order_id=i) for i in range(1, 700)])) == 699
        herd.close_sync()

    await asyncio.to_thread(without_a_loop)
    async with herd:
        await herd.start()
        await records.wait("event.end", count=700, outcome="completed")
    assert seen == list(range(700))


async def test_completed_events_are_kept_when_asked_for(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed", keep=Keep(completed=2))
    async def order_placed(order: Order) -> int:
        return order.order_id

    async with herd:
        emitted = [await order_placed.emit(Order(order_id=i)) for i in range(4)]
        await herd.start()
        await records.wait("event.end", count=4, outcome="completed")
        assert len(await left(herd, "order.placed") & {str(e.id) for e in emitted}) == 2


async def test_a_stop_lets_running_work_end_and_writes_its_completion(herd: Oxherd, records: Records) -> None:
    began = asyncio.Event()
    go_on = asyncio.Event()

    @herd.event("order.placed", concurrency=1)
    async def order_placed(order: Order) -> None:
        began.set()
        await go_on.wait()

    async with herd:
        running = await order_placed.emit(Order(order_id=1))
        waiting = await order_placed.emit(Order(order_id=2))
        await herd.start()
        await asyncio.wait_for(began.wait(), 10)
        stopping = asyncio.create_task(herd.stop(timeout=10))
        await asyncio.sleep(0)
        go_on.set()
        report = await stopping
        assert (report.drained, report.requeued, report.left_behind) == ([running.id], [], 0)
        assert records.named("event.end", event_id=running.id, outcome="completed")
        assert not records.named("event.begin", event_id=waiting.id)
        assert {str(waiting.id), "wait"} == await left(herd, "order.placed")


async def test_what_still_runs_when_the_time_is_over_is_put_back_without_costing_an_attempt(
    herd: Oxherd, records: Records
) -> None:
    block = True
    seen: list[tuple[int, int]] = []

    @herd.event("order.placed", retry=Retry(attempts=1))
    async def order_placed(order: Order, ctx: Context) -> None:
        seen.append((ctx.attempt, ctx.fence))
        if block:
            await asyncio.sleep(60)

    async with herd:
        emitted = [await order_placed.emit(Order(order_id=i), priority=i % 2) for i in range(4)]
        await herd.start()
        await records.wait("event.begin", count=4)
        report = await herd.stop(timeout=0.05)
        assert set(report.requeued) == set(report.cancelled) == {each.id for each in emitted}
        assert not report.drained
        assert not report.stranded
        requeued = records.named("event.end", outcome="requeued")
        assert {r.event_id for r in map(_any, requeued)} == {str(e.id) for e in emitted}
        block = False
        await herd.start()
        await records.wait("event.end", count=4, outcome="completed")
    assert seen == [(1, 1)] * 4 + [(1, 2)] * 4


def _any(record: logging.LogRecord) -> Any:
    return record


async def test_one_event_can_be_stopped_while_another_goes_on(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed")
    async def order_placed(order: Order) -> None: ...

    @herd.event("order.shipped")
    async def order_shipped(order: Order) -> None: ...

    async with herd:
        await herd.start()
        await order_placed.stop()
        waiting = await order_placed.emit(Order(order_id=1))
        done = await order_shipped.emit(Order(order_id=1))
        await records.wait("event.end", event_id=done.id, outcome="completed")
        assert not records.named("event.begin", event_id=waiting.id)
        await order_placed.start()
        await records.wait("event.end", event_id=waiting.id, outcome="completed")


async def test_progress_is_stored_for_async_and_thread_handlers(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed", keep=Keep(completed=10))
    async def order_placed(order: Order, ctx: Context) -> None:
        await ctx.progress({"percent": 50})

    @herd.event("order.shipped", keep=Keep(completed=10))
    def order_shipped(order: Order, ctx: Context) -> None:
        ctx.progress_sync(80)

    async with herd:
        jobs = [await order_placed.emit(Order(order_id=1)), await order_shipped.emit(Order(order_id=1))]
        await herd.start()
        await records.wait("event.end", count=2, outcome="completed")
        backend = await herd.backend()
        stored: list[bytes] = []
        for job in jobs:
            keys = backend.queue(herd[job.event].declaration).keys
            stored.append(await backend.client.call(keys.slot, "HGET", keys.job(str(job.id)), "progress"))
        assert stored == [b'{"percent":50}', b"80"]


async def test_a_handler_can_be_called_plainly(local_herd: Oxherd) -> None:
    @local_herd.event("order.placed")
    async def order_placed(order: Order, ctx: Context) -> str:
        return f"{ctx.event} {order.order_id}"

    event = local_herd.declare("order.shipped", Order)

    @event.process
    def order_shipped(order: Order) -> int:
        return order.order_id + 1

    assert await order_placed(Order(order_id=4)) == "order.placed 4"
    assert await order_shipped(Order(order_id=4)) == 5


async def test_an_emit_wakes_an_idle_worker_at_once(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed")
    async def order_placed(order: Order) -> None: ...

    async with herd:
        await herd.start()
        first = await order_placed.emit(Order(order_id=1))
        await records.wait("event.end", event_id=first.id)
        backend = await herd.backend()
        keys = backend.queue(order_placed.declaration).keys

        async def drained() -> bool:
            return not await backend.client.call(keys.slot, "EXISTS", keys.marker)

        await until(drained)
        begun = asyncio.get_running_loop().time()
        second = await order_placed.emit(Order(order_id=2))
        await records.wait("event.begin", event_id=second.id)
        assert asyncio.get_running_loop().time() - begun < 1
