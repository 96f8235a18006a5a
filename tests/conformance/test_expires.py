"""`at=` and `expires=` on every kind of server: what comes due at a moment, and what is dropped before it begins."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from pydantic import BaseModel

from oxherd import EventExpired, Every, Oxherd, Retry
from oxherd.bullmq.expiry import options_of_forwarded
from oxherd.bullmq.job import Job
from oxherd.bullmq.options import parse_options
from oxherd.bullmq.shards import shard_queues
from tests.harness import Records, until

SOON = 0.05


class Order(BaseModel):
    order_id: int = 1


def customer(order: Order) -> int:
    return order.order_id


KINDS: dict[str, dict[str, Any]] = {
    "own queue": {},
    "shards": {"shards": 3, "key": customer},
    "shared queue": {"queue": "{orders}"},
    "ordered": {"ordered": True},
    "ordered shards": {"ordered": True, "shards": 2, "key": customer},
}


async def left(herd: Oxherd, name: str, options: dict[str, Any]) -> int:
    """How many jobs the event's queues hold, in whatever state."""
    backend = await herd.backend()
    first = options.get("queue", f"{{{name}}}")
    queues = map(backend.queue_named, (first, *shard_queues(name, options.get("shards", 1))[1:]))
    return sum([sum((await queue.counts()).values()) for queue in queues])


@pytest.mark.parametrize("kind", KINDS)
async def test_what_has_not_begun_in_time_is_dropped_and_the_rest_is_processed(
    kind: str, herd: Oxherd, records: Records
) -> None:
    options = KINDS[kind]
    runs: list[int] = []

    @herd.event("order.placed", expires=SOON, **options)
    async def order_placed(order: Order) -> None:
        runs.append(order.order_id)

    async with herd:
        late = [(await order_placed.emit(Order(order_id=0))).id]
        late += [each.id for each in await order_placed.emit_many([Order(order_id=n) for n in range(1, 5)])]
        late.append((await order_placed.emit(Order(order_id=5), delay=SOON / 2)).id)
        late.append((await order_placed.emit(Order(order_id=6), id=uuid4(), once=60)).id)
        if "ordered" not in options:
            late.append((await order_placed.emit(Order(order_id=7), priority=3)).id)
        await order_placed.emit_many([Order(order_id=n) for n in range(100, 110)], expires=3600)
        await order_placed.emit_many([Order(order_id=n) for n in range(110, 120)], expires=0)
        await asyncio.sleep(2 * SOON)
        await herd.start()
        expired = await records.wait("event.expired", count=len(late))
        await records.wait("event.end", count=20, outcome="completed")
        await until(lambda: left_is(0, herd, options))
    assert sorted(runs) == list(range(100, 120))
    assert {record.event_id for record in expired} == {str(each) for each in late}
    for record in expired:
        assert (record.levelname, record.event) == ("WARNING", "order.placed")
        assert 0 < record.late_ms < 60_000
        assert not records.named("event.begin", event_id=record.event_id)
    assert not records.named("queue.error")


async def left_is(number: int, herd: Oxherd, options: dict[str, Any]) -> bool:
    return await left(herd, "order.placed", options) == number


async def test_who_waits_for_its_result_is_told_that_it_has_expired(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed", expires=SOON)
    async def order_placed(order: Order) -> None: ...

    async with herd:
        emitted, late = await order_placed.emit_many([Order(), Order()])
        waiting = asyncio.create_task(emitted.result(timeout=20))
        await asyncio.sleep(2 * SOON)
        await herd.start()
        with pytest.raises(EventExpired) as caught:
            await waiting
        # Of one that nobody had asked for, the event stream says the same.
        await records.wait("event.expired", event_id=late.id)
        with pytest.raises(EventExpired):
            await late.result(timeout=5)
    assert (caught.value.outcome, caught.value.error_type) == ("expired", "EventExpired")
    assert not records.named("queue.error")


async def test_the_synchronous_emits_take_the_same_times(herd: Oxherd, records: Records) -> None:
    event = herd.declare("order.placed", Order)

    def emit() -> None:
        event.emit_sync(Order(), expires=SOON, at=datetime.now(UTC) - timedelta(hours=1))
        event.emit_many_sync([Order(), Order()], expires=timedelta(seconds=SOON))
        herd.close_sync()

    await asyncio.to_thread(emit)
    await asyncio.sleep(2 * SOON)

    @event.process
    async def process(order: Order) -> None: ...

    async with herd:
        await herd.start()
        await records.wait("event.expired", count=3)
        await event.emit(Order(), expires=60)
        await records.wait("event.end", outcome="completed")
    assert len(records.named("event.begin")) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_an_event_begins_at_its_moment(kind: str, herd: Oxherd, records: Records) -> None:
    began: dict[int, float] = {}

    @herd.event("order.placed", **KINDS[kind])
    async def order_placed(order: Order) -> None:
        began[order.order_id] = time.time()

    async with herd:
        await herd.start()
        at = datetime.now(UTC) + timedelta(seconds=0.5)
        await order_placed.emit(Order(order_id=1), at=at, expires=60)
        await order_placed.emit_many([Order(order_id=2), Order(order_id=3)], at=at)
        await order_placed.emit(Order(order_id=4), at=datetime(2020, 1, 1, tzinfo=UTC))
        await records.wait("event.end", count=4, outcome="completed")
    # The marker's wait ends on the server's clock, to the millisecond.
    assert min(began[n] for n in (1, 2, 3)) >= at.timestamp() - 0.002
    assert began[4] < at.timestamp()


async def test_many_events_for_one_moment_come_due_together_however_long_their_emit_takes(local_herd: Oxherd) -> None:
    event = local_herd.declare("order.placed", Order)
    at = datetime.now(UTC) + timedelta(hours=1)
    async with local_herd:
        await event.emit_many([Order()] * 300, at=at)
        queue = (await local_herd.backend()).queue(event.declaration)
        flat: Any = await queue.client.call(queue.keys.slot, "ZRANGE", queue.keys.delayed, 0, -1, "WITHSCORES")
    due = {int(float(score)) // 0x1000 for score in flat[1::2]}
    assert due == {math.ceil(at.timestamp() * 1000)}


async def test_an_event_that_is_tried_again_never_expires(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed", expires=0.3, retry=Retry(attempts=3, delay=0.3, backoff="fixed", jitter=0))
    async def order_placed(order: Order) -> None:
        raise OSError

    async with herd:
        await herd.start()
        emitted = await order_placed.emit(Order())
        await records.wait("event.end", outcome="failed", event_id=emitted.id)
    assert len(records.named("event.begin", event_id=emitted.id)) == 3
    assert not records.named("event.expired")


@pytest.mark.parametrize("kind", KINDS)
async def test_an_event_that_a_stop_put_back_never_expires(
    kind: str, url: str, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    released, event_id = asyncio.Event(), uuid4()

    async def process(order: Order) -> None:
        await released.wait()

    for again in (False, True):
        herd = make_herd(url)
        event = herd.event("order.placed", expires=0.5, **KINDS[kind])(process)
        async with herd:
            if not again:
                await event.emit(Order(), id=event_id)
            await herd.start()
            await records.wait("event.begin", event_id=event_id, count=2 if again else 1)
            if again:
                released.set()
                await records.wait("event.end", event_id=event_id, outcome="completed")
            else:
                await herd.stop(0)
                await asyncio.sleep(0.6)
    assert not records.named("event.expired")


@pytest.mark.parametrize("kind", ["own queue", "shards", "ordered shards"])
async def test_a_schedules_tick_expires_so_long_after_it_was_due(kind: str, herd: Oxherd, records: Records) -> None:
    options: dict[str, Any] = KINDS[kind] | {"expires": 0.5}
    began: list[float] = []

    @herd.event("order.placed", **options)
    async def order_placed(order: Order) -> None:
        began.append(time.time())

    async with herd:
        await order_placed.schedule("often", Every(2), Order())
        # The first tick, up to 2 s from now, comes due with nobody there.
        await asyncio.sleep(2.6)
        await herd.start()
        (expired,) = await records.wait("event.expired")
        assert expired.late_ms < 2_600
        await records.wait("event.end", count=1, outcome="completed")
        await order_placed.unschedule("often")
    assert all(moment % 2 < 0.6 for moment in began)


def test_a_tick_that_moves_to_another_shard_expires_when_it_would_have() -> None:
    now = int(time.time() * 1000)
    options = parse_options(b'{"ox:expires":5000,"delay":2000}')
    tick = Job("repeat:often:1", "t", "order.placed", b"1", options, now - 3000, 0, 1, 0, None, "often")
    assert tick.expires_at_ms == now + 4000
    forwarded = options_of_forwarded(tick, {"attempts": 3, "ox:expires": 5000})
    assert forwarded["attempts"] == 3
    assert 3_000 < forwarded["ox:expires"] <= 4_000
    never = Job("repeat:often:1", "t", "order.placed", b"1", parse_options(b"{}"), now, 0, 1, 0, None, "often")
    assert options_of_forwarded(never, {"attempts": 3}) == {"attempts": 3}
