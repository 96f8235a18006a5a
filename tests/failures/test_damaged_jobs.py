"""Jobs that BullMQ's scripts cannot begin or end are quarantined once, and the others run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
from pydantic import BaseModel

from oxherd import Context, Discard, EmitError, Keep, Oxherd, Retry
from oxherd.bullmq.inspection import stored_states
from oxherd.bullmq.queue import BullQueue
from oxherd.redis.client import Argument
from tests.harness import Records, until

EVENT = "order.placed"


class Order(BaseModel):
    order_id: int = 0


@pytest.fixture(params=[True, False], ids=["batched", "bullmq"])
def herd(request: pytest.FixtureRequest, standalone: str, make_herd: Callable[..., Oxherd]) -> Oxherd:
    return make_herd(standalone, batched=request.param)


async def put(queue: BullQueue, job_id: bytes, **fields: Argument) -> bytes:
    """Add a job as another program may; returns the key of its hash."""
    key = queue.keys.base.encode() + job_id
    right: dict[str, Argument] = {"name": EVENT, "data": b"{}", "opts": b"{}", "timestamp": 1700000000000}
    pairs = [part for pair in (right | fields).items() for part in pair]
    await queue.client.call(queue.keys.slot, "HSET", key, *pairs)
    await queue.client.call(queue.keys.slot, "LPUSH", queue.keys.wait, job_id)
    return key


async def left(queue: BullQueue) -> int:
    counts = await queue.counts()
    return counts["wait"] + counts["active"] + counts["delayed"]


async def quiet(queue: BullQueue) -> bool:
    return not await left(queue)


async def failed(queue: BullQueue) -> list[bytes]:
    return await queue.client.call(queue.keys.slot, "ZRANGE", queue.keys.failed, 0, -1)


DAMAGED: dict[str, dict[str, Any]] = {
    "attempts": {"atm": "x"},
    "attempts beyond what HINCRBY takes": {"atm": "9223372036854775807"},
    "attempts as Python reads them": {"atm": "1_0"},
    "begins": {"ats": "1.5"},
    "stalls": {"stc": " 1"},
}
PRIORITIES = ("nan", "-nan", "NaN", "inf", "-inf", "1e300", "-1e300", "9" * 30, "1.5", "high", "", " 1", "0x10")


@pytest.mark.parametrize("what", DAMAGED)
async def test_a_damaged_counter_sends_only_its_job_to_failed(what: str, herd: Oxherd, records: Records) -> None:
    done: list[int] = []

    @herd.event(EVENT, concurrency=2)
    async def order_placed(order: Order) -> None:
        done.append(order.order_id)

    async with herd:
        queue = (await herd.backend()).queue(order_placed.declaration)
        for number in range(6):
            await put(queue, b"good-%d" % number, data=f'{{"order_id": {number}}}')
            await put(queue, b"bad-%d" % number, **DAMAGED[what])
        await herd.start()
        faults = await records.wait("queue.error", count=6, source="data")
        await until(lambda: len(done) == 6)
        await until(lambda: quiet(queue))
        assert sorted(await failed(queue)) == [b"bad-%d" % number for number in range(6)]
        reason = await queue.client.call(queue.keys.slot, "HGET", queue.keys.job("bad-0"), "failedReason")
        assert reason == b"the job cannot be read: a counter is not a number"
    assert {fault.error["message"] for fault in faults} == {reason.decode()}
    assert not records.named("queue.error", source="finish")


@pytest.mark.parametrize("job_id", [b"caf\xe9", b"\xff\xfe", b""])
async def test_an_id_of_any_bytes_leaves_the_queue(job_id: bytes, herd: Oxherd, records: Records) -> None:
    @herd.event(EVENT)
    async def order_placed(order: Order) -> None: ...

    async with herd:
        queue = (await herd.backend()).queue(order_placed.declaration)
        await put(queue, job_id)
        await herd.start()
        await until(lambda: quiet(queue))
        if job_id:
            (fault,) = await records.wait("queue.error", source="data")
            assert "its id is not UTF-8" in fault.error["message"]
            assert await failed(queue) == [job_id]
        else:
            await records.wait("event.end", outcome="completed")


async def test_an_id_whose_key_holds_no_hash_leaves_the_queue_and_the_key_is_left_alone(
    herd: Oxherd, records: Records
) -> None:
    done: list[int] = []

    @herd.event(EVENT, concurrency=1)
    async def order_placed(order: Order) -> None:
        done.append(order.order_id)

    async with herd:
        queue = (await herd.backend()).queue(order_placed.declaration)
        call, slot, base = queue.client.call, queue.keys.slot, queue.keys.base
        for kind, command in (("string", "SET"), ("list", "RPUSH"), ("set", "SADD")):
            await call(slot, command, base + kind, "somebody else's")
            await call(slot, "LPUSH", queue.keys.wait, kind)
            await put(queue, b"good-" + kind.encode())
        await herd.start()
        faults = await records.wait("queue.error", count=3, source="data")
        await until(lambda: len(done) == 3)
        await until(lambda: quiet(queue))
        assert await failed(queue) == []
        assert await call(slot, "GET", f"{base}string") == b"somebody else's"
        assert await call(slot, "LLEN", f"{base}list") == await call(slot, "SCARD", f"{base}set") == 1
        assert await call(slot, "KEYS", base.replace("{", "\\{") + "*:lock") == []
    assert all("its key holds no hash" in fault.error["message"] for fault in faults)


@pytest.mark.parametrize("how", ["a parent", "children"])
async def test_a_job_that_cannot_be_completed_goes_to_failed_and_counts_as_lost(
    how: str, herd: Oxherd, records: Records
) -> None:
    @herd.event(EVENT)
    async def order_placed(order: Order) -> None: ...

    async with herd:
        queue = (await herd.backend()).queue(order_placed.declaration)
        key = await put(queue, b"1", **({"parent": "{no JSON"} if how == "a parent" else {}))
        if how == "children":
            await queue.client.call(queue.keys.slot, "SET", key + b":dependencies", "x")
        await herd.start()
        await records.wait("event.end", outcome="lost")
        assert await failed(queue) == [b"1"]
        assert not await left(queue)
    (fault,) = records.named("queue.error")
    assert vars(fault)["source"] == "data"


async def test_a_damaged_job_of_a_dead_worker_does_not_keep_others_from_being_put_back(
    herd: Oxherd, records: Records
) -> None:
    done: list[int] = []

    @herd.event(EVENT, lock=0.3)
    async def order_placed(order: Order) -> None:
        done.append(order.order_id)

    async with herd:
        queue = (await herd.backend()).queue(order_placed.declaration)
        for number in range(20):
            job_id = b"%d" % number
            await put(queue, job_id, **({"stc": "x"} if number % 2 else {"data": f'{{"order_id": {number}}}'}))
            await queue.client.call(queue.keys.slot, "LREM", queue.keys.wait, 0, job_id)
            await queue.client.call(queue.keys.slot, "LPUSH", queue.keys.active, job_id)
        await herd.start()
        await until(lambda: len(done) == 10)
        await records.wait("queue.error", count=10, source="data")
        assert len(await failed(queue)) == 10
    assert sorted(done) == list(range(0, 20, 2))


async def test_an_error_with_invalid_unicode_ends_its_event(herd: Oxherd, records: Records) -> None:
    @herd.event(EVENT, retry=Retry(attempts=2, delay=0))
    async def order_placed(order: Order) -> None:
        raise OSError("no file caf\udce9")

    async with herd:
        await order_placed.emit(Order())
        await herd.start()
        ended = await records.wait("event.end", outcome="failed")
    assert ended[0].error["message"] == "no file caf\\udce9"


OTHERS = 12_000
DAY = 86_400_000
# The event's `keep`, a damaged job's own options, and how many failed jobs there are then.
KEPT: dict[str, tuple[Keep, str, int]] = {
    "the event's count": (Keep(failed=10_000), "{}", 10_000),
    "the event keeps all": (Keep(failed=None, failed_for=None), "{}", OTHERS + 1),
    "the job keeps all": (Keep(failed=5), '{"removeOnFail": false}', OTHERS + 1),
    "the job's count": (Keep(failed=None), '{"removeOnFail": 7}', 7),
    "the job's age": (Keep(failed=5), '{"removeOnFail": {"age": 3600}}', OTHERS + 1 - 1_000),
    "the job keeps itself not": (Keep(failed=None), '{"removeOnFail": true}', OTHERS),
    "options that cannot be read": (Keep(failed=5), "{", 5),
}


@pytest.mark.parametrize("fields", [{"atm": "x"}, {"name": "none of ours", "priority": "x"}], ids=["known", "unknown"])
@pytest.mark.parametrize("where", ["wait", "active"])
@pytest.mark.parametrize("case", KEPT)
async def test_a_damaged_job_is_kept_by_its_own_options_or_its_events(
    case: str, where: str, fields: dict[str, Argument], local_herd: Oxherd, records: Records
) -> None:
    keep, options, expected = KEPT[case]

    @local_herd.event(EVENT, keep=keep, lock=0.3)
    async def order_placed(order: Order) -> None: ...

    async with local_herd:
        queue = (await local_herd.backend()).queue(order_placed.declaration)
        call, keys = queue.client.call, queue.keys
        now = int(time.time() * 1000)
        for first in range(0, OTHERS, 1_000):
            # The first thousand are older than an hour.
            ended = now - (60_000 if first else DAY)
            pairs = [word for n in range(first, first + 1_000) for word in (ended + n, f"old-{n}")]
            await call(keys.slot, "ZADD", keys.failed, *pairs)
        await put(queue, b"bad", opts=options, **fields)
        if where == "active":
            await call(keys.slot, "LMOVE", keys.wait, keys.active, "RIGHT", "LEFT")
        await local_herd.start()
        await records.wait("queue.error", source="data")
        await until(lambda: quiet(queue))
        assert (await queue.counts())["failed"] == expected
        assert await queue.holds("bad") == ("true" not in options)


async def test_a_job_of_no_event_takes_the_place_of_no_other_on_a_shared_queue(
    local_herd: Oxherd, records: Records
) -> None:
    @local_herd.event(EVENT, queue="{shared}", keep=Keep(failed=2))
    async def order_placed(order: Order) -> None: ...

    async with local_herd:
        queue = (await local_herd.backend()).queue(order_placed.declaration)
        for number in range(5):
            await put(queue, b"%d" % number, name="of another program")
            await put(queue, b"damaged-%d" % number, name="of another program", ats="x")
        await local_herd.start()
        await until(lambda: quiet(queue))
        assert len(await failed(queue)) == 10


async def test_jobs_with_the_same_options_are_kept_by_the_event_that_each_belongs_to(
    local_herd: Oxherd, records: Records
) -> None:
    @local_herd.event("few", queue="{shared}", keep=Keep(failed=2), concurrency=1)
    async def few(order: Order) -> None:
        raise Discard("as always")

    @local_herd.event("all", queue="{shared}", keep=Keep(failed=None), concurrency=1)
    async def every(order: Order) -> None:
        raise Discard("as always")

    async with local_herd:
        queue = (await local_herd.backend()).queue(few.declaration)
        await local_herd.start()
        for number, name in enumerate(["few"] * 4 + ["all"] * 6):
            await put(queue, b"%d" % number, name=name)
            await queue.wake()
            await records.wait("event.end", count=number + 1, outcome="discarded")
        assert len(await failed(queue)) == 2 + 6


async def delay(queue: BullQueue, job_id: str, **fields: Argument) -> None:
    """Add a delayed job that is due."""
    await put(queue, job_id.encode(), **fields)
    await queue.client.call(queue.keys.slot, "LREM", queue.keys.wait, 0, job_id)
    await queue.client.call(queue.keys.slot, "ZADD", queue.keys.delayed, 1700000000000 * 0x1000, job_id)


@pytest.mark.parametrize("priority", PRIORITIES)
@pytest.mark.parametrize("where", ["delayed", "prioritized", "wait"])
async def test_a_priority_that_is_no_integer_sends_only_its_job_to_failed(
    where: str, priority: str, herd: Oxherd, records: Records
) -> None:
    done: list[int] = []

    @herd.event(EVENT, concurrency=2)
    async def order_placed(order: Order) -> None:
        done.append(order.order_id)

    async with herd:
        queue = (await herd.backend()).queue(order_placed.declaration)
        for number in range(20):
            await delay(queue, f"good-{number:02}", data=f'{{"order_id": {number}}}', priority=number % 2)
            if number % 5 == 0:
                await delay(queue, f"bad-{number:02}", priority=priority)
                if where != "delayed":
                    await queue.client.call(queue.keys.slot, "ZREM", queue.keys.delayed, f"bad-{number:02}")
                    command = (
                        ("ZADD", queue.keys.prioritized, 1) if where == "prioritized" else ("LPUSH", queue.keys.wait)
                    )
                    await queue.client.call(queue.keys.slot, *command, f"bad-{number:02}")
        await herd.start()
        await until(lambda: len(done) == 20)
        faults = await records.wait("queue.error", count=4, source="data")
        await until(lambda: quiet(queue))
        assert sorted(await failed(queue)) == [b"bad-00", b"bad-05", b"bad-10", b"bad-15"]
    assert sorted(done) == list(range(20))
    assert {fault.error["message"] for fault in faults} == {
        "the job cannot be read: its priority is not a whole number"
    }
    assert len(records.named("queue.error")) == 4


async def test_more_damaged_jobs_than_are_promoted_at_once_lose_no_other(herd: Oxherd, records: Records) -> None:
    done: list[int] = []

    @herd.event(EVENT, concurrency=50)
    async def order_placed(order: Order) -> None:
        done.append(order.order_id)

    async with herd:
        queue = (await herd.backend()).queue(order_placed.declaration)
        await asyncio.gather(
            *(delay(queue, f"{number:04}", priority="nan" if number % 3 else 1) for number in range(2_100)),
            *(delay(queue, f"good-{number:04}", data=f'{{"order_id": {number}}}') for number in range(1_050)),
        )
        await herd.start()
        await until(lambda: quiet(queue))
        assert len(await failed(queue)) == 1_400
        await until(lambda: len(done) == 1_750)
    assert set(done) == set(range(1_050))


# A step that a worker does with a job, and what it finds damaged: what sets it, and what mends it.
STEPS: dict[str, dict[str, Any]] = {
    "completes": {},
    "completes and keeps": {"opts": '{"removeOnComplete":false}'},
    "fails": {"data": '{"order_id":1}', "opts": '{"attempts":1}'},
    "retries at once": {"data": '{"order_id":1}', "opts": '{"attempts":2}'},
    "retries later": {"data": '{"order_id":1}', "opts": '{"attempts":2,"backoff":1}'},
    "completes a prioritized one": {"priority": 1},
    "retries a prioritized one": {"data": '{"order_id":1}', "opts": '{"attempts":2}', "priority": 1},
    "completes one with a deduplication id": {"deid": "once"},
}
KEYS = ("meta", "events", "prioritized", "pc", "delayed", "completed", "failed", "marker", "de:once", "dn:once", "wait")


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("step", STEPS)
async def test_a_damaged_key_of_the_queue_loses_no_job(step: str, key: str, herd: Oxherd, records: Records) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    ran: list[str] = []

    @herd.event(EVENT, concurrency=1, lock=0.5, keep=Keep(failed=5))
    async def order_placed(order: Order, ctx: Context) -> None:
        ran.append(ctx.event_id)
        begun.set()
        await go_on.wait()
        if order.order_id and len(ran) == 1:
            raise ValueError("declined")

    async with herd:
        queue = (await herd.backend()).queue(order_placed.declaration)
        call, slot, base = queue.client.call, queue.keys.slot, queue.keys.base
        await put(queue, b"1", **STEPS[step])
        await herd.start()
        await begun.wait()
        kept = await call(slot, "DUMP", base + key)
        await call(slot, "SADD", base + key + "!", "x")
        await call(slot, "RENAME", base + key + "!", base + key)
        go_on.set()

        async def ended_or_reported() -> bool:
            """Whether the job ended all the same, or the damage was reported."""
            return bool(records.named("queue.error") or records.named("event.end"))

        await until(ended_or_reported)
        await herd.stop(timeout=0.1)
        await call(slot, "DEL", base + key)
        if kept is not None:
            await call(slot, "RESTORE", base + key, 0, kept)
        ended = {vars(record)["outcome"] for record in records.named("event.end")} & {"completed", "failed"}
        if not ended:
            assert await queue.holds("1")
            await herd.start()
            await until(
                lambda: records.named("event.end", outcome="completed") or records.named("event.end", outcome="failed")
            )
        await until(lambda: quiet(queue))
        # What was reported as ended is gone, completed or failed.
        assert (await stored_states(queue)).get("1") in (["completed", "failed"] if await queue.holds("1") else [None])


@pytest.mark.parametrize("key", ["meta", "events", "prioritized", "pc", "delayed", "wait", "marker"])
@pytest.mark.parametrize("how", [{}, {"delay": 0.1}, {"priority": 1}, {"once": 60}, {"once": 60, "priority": 1}])
async def test_an_emit_that_fails_on_a_damaged_key_does_not_count_as_emitted(
    how: dict[str, Any], key: str, herd: Oxherd, records: Records
) -> None:
    @herd.event(EVENT)
    async def order_placed(order: Order) -> None: ...

    async with herd:
        queue = (await herd.backend()).queue(order_placed.declaration)
        await queue.client.call(queue.keys.slot, "SADD", queue.keys.base + key, "x")
        event_id = uuid4()
        with suppress(EmitError):
            await order_placed.emit(Order(), id=event_id, **how)
        await queue.client.call(queue.keys.slot, "DEL", queue.keys.base + key)
        await order_placed.emit(Order(), id=event_id, **how)
        await herd.start()
        await records.wait("event.end", outcome="completed", event_id=event_id)


async def test_stalled_jobs_stay_where_they_are_while_a_key_of_the_queue_is_damaged(
    local_herd: Oxherd, records: Records
) -> None:
    @local_herd.event(EVENT, lock=0.3)
    async def order_placed(order: Order) -> None: ...

    async with local_herd:
        queue = (await local_herd.backend()).queue(order_placed.declaration)
        await put(queue, b"1")
        await queue.client.call(queue.keys.slot, "RPOPLPUSH", queue.keys.wait, queue.keys.active)
        await queue.client.call(queue.keys.slot, "SET", queue.keys.repeat, "x")
        await queue.client.call(queue.keys.slot, "HSET", queue.keys.job("1"), "rjk", "nightly")
        await local_herd.start()
        await records.wait("queue.error", source="stalled")
        assert (await queue.counts())["active"] == 1
        await queue.client.call(queue.keys.slot, "DEL", queue.keys.repeat)
        await records.wait("event.end", outcome="completed")
