"""`per_key`: each key of an event has limits of its own, over all workers, and the keys take turns."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from oxherd import (
    Context,
    DeclarationError,
    Discard,
    Emitted,
    Every,
    Keep,
    Limits,
    Oxherd,
    PerKey,
    Rate,
    RateLimited,
    Retry,
    Snooze,
    Unique,
    UsageError,
)
from oxherd.bullmq.queue import BullQueue
from oxherd.testing import run_until_empty
from tests.conformance.key_runs import Runs, left_of_keys, queue_of
from tests.harness import Records, until

MakeHerd = Callable[..., Oxherd]
Order = tuple[str, int]
ONE = PerKey(max_running=1)


def key_of(order: Order) -> str:
    return order[0]


async def active(queue: BullQueue) -> list[tuple[float, str]]:
    """When jobs began, by the server's clock (seconds), and their ids, in order."""
    entries: list[Any] = await queue.client.call(queue.keys.slot, "XRANGE", queue.keys.events, "-", "+")
    told = [(entry_id, dict(zip(flat[::2], flat[1::2], strict=True))) for entry_id, flat in entries]
    return [
        (int(bytes(entry_id).split(b"-")[0]) / 1000, bytes(fields[b"jobId"]).decode())
        for entry_id, fields in told
        if fields[b"event"] == b"active"
    ]


async def test_no_more_of_a_key_run_than_allowed_over_two_workers_and_in_order(url: str, make_herd: MakeHerd) -> None:
    runs = Runs()
    herds = [make_herd(url), make_herd(url)]
    for herd in herds:

        @herd.event("order.placed", key=key_of, per_key=ONE)
        async def placed(order: Order) -> None:
            await runs.run(order)

    first, second = herds
    async with first, second:
        await first["order.placed"].emit_many([(key, number) for number in range(30) for key in "abc"])
        await first.start()
        await second.start()
        await first["order.placed"].emit_many([("a", number) for number in range(30, 60)])
        await runs.wait(120)
        assert set(runs.most.values()) == {1}
        assert runs.of("a") == list(range(60))
        assert runs.of("b") == runs.of("c") == list(range(30))
        queue = await queue_of(first)
        await until(lambda: nothing_left(queue))


async def nothing_left(queue: BullQueue) -> bool:
    return await left_of_keys(queue) == []


async def test_several_of_a_key_run_where_that_is_allowed_and_another_key_is_not_kept_waiting(herd: Oxherd) -> None:
    runs = Runs()

    @herd.event("order.placed", key=key_of, per_key=PerKey(max_running=3), concurrency=10)
    async def placed(order: Order) -> None:
        await runs.run(order, 0.02)

    async with herd:
        await placed.emit_many([("a", number) for number in range(60)])
        await placed.emit(("b", 0))
        await herd.start()
        await runs.wait(61)
        assert runs.most == {"a": 3, "b": 1}
        assert runs.begun.index(("b", 0)) < 8


async def test_with_room_for_one_in_all_events_begin_in_the_order_of_their_emits(herd: Oxherd) -> None:
    runs = Runs()

    @herd.event("order.placed", key=key_of, per_key=ONE, concurrency=1)
    async def placed(order: Order) -> None:
        await runs.run(order, 0)

    async with herd:
        for key in "abcd":
            await placed.emit_many([(key, number) for number in range(10)])
        await herd.start()
        await runs.wait(40)
        # With room for one in all, nothing is ever held back; with more, each lets go the next of its key at the back.
        assert [key for key, _ in runs.begun] == [key for key in "abcd" for _ in range(10)]
        await herd.stop()


async def test_what_is_held_back_goes_to_the_back_so_that_keys_take_turns(herd: Oxherd) -> None:
    runs = Runs()

    @herd.event("order.placed", key=key_of, per_key=ONE, concurrency=5)
    async def placed(order: Order) -> None:
        await runs.run(order, 0.01)

    async with herd:
        for key in "abcd":
            await placed.emit_many([(key, number) for number in range(10)])
        await herd.start()
        await runs.wait(40)
        for key in "abcd":
            assert runs.of(key) == list(range(10))
        # Every key has had a turn before any has had its fourth.
        fourth = runs.begun.index(("a", 4))
        assert {key for key, _ in runs.begun[:fourth]} == set("abcd")


async def test_a_keys_rate_is_kept_over_two_workers_and_used(url: str, make_herd: MakeHerd) -> None:
    count, per, windows = 10, 2.0, 4
    herds = [make_herd(url), make_herd(url)]
    for herd in herds:

        @herd.event("order.placed", key=key_of, per_key=PerKey(rate=Rate(count, per=per)), concurrency=20)
        async def placed(order: Order) -> None: ...

    first, second = herds
    async with first, second:
        await first.start()
        await second.start()
        keys: dict[str, str] = {}
        for key in "ab":
            emitted = await first["order.placed"].emit_many([(key, number) for number in range(count * windows)])
            keys.update((str(each.id), key) for each in emitted)
        queue = await queue_of(first)
        await until(lambda: begun(queue, 2 * count * windows))
        for key in "ab":
            times = [at for at, job_id in await active(queue) if keys[job_id] == key]
            assert len(times) == count * windows
            for index in range(len(times) - count):
                # A window's end is an expiry in whole milliseconds.
                assert index % count or times[index + count] - times[index] >= per - 0.002
            assert times[-1] - times[0] <= (windows - 1) * per / 0.95


async def begun(queue: BullQueue, count: int) -> bool:
    return len(await active(queue)) >= count


async def test_both_limits_of_a_key_hold_together(herd: Oxherd) -> None:
    runs = Runs()
    limits = PerKey(max_running=2, rate=Rate(6, per=0.5))

    @herd.event("order.placed", key=key_of, per_key=limits, concurrency=10)
    async def placed(order: Order) -> None:
        await runs.run(order, 0.02)

    async with herd:
        await herd.start()
        await placed.emit_many([("a", number) for number in range(18)])
        began = time.monotonic()
        await runs.wait(18)
        assert runs.most["a"] == 2
        assert runs.of("a") == list(range(18))
        assert 1.0 <= time.monotonic() - began < 1.6


WAYS = [
    "completed", "kept", "failed", "retried", "retried at once", "snoozed", "timed out", "discarded", "cancelled",
    "rate limited", "damaged", "expired",
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
async def test_every_way_out_gives_the_keys_share_back(herd: Oxherd, records: Records, way: str) -> None:
    runs = Runs()
    delay = 0 if way == "retried at once" else 30

    @herd.event(
        "order.placed",
        key=key_of,
        per_key=ONE,
        retry=Retry(attempts=2 if way.startswith("retried") else 1, delay=delay, jitter=0),
        timeout=0.1 if way == "timed out" else None,
        keep=Keep(completed=10) if way == "kept" else Keep(),
    )
    async def placed(order: Order, ctx: Context) -> None:
        if order[1] == 0 and ctx.attempt == 1 and (ctx.fence == 1 or way not in ("snoozed", "rate limited")):
            await leave(way, runs.gates["go"])
        await runs.run(order)

    async with herd:
        queue = await queue_of(herd)
        await herd.start()
        first = await placed.emit(("a", 0), expires=0.001 if way == "expired" else None)
        if way not in ("damaged", "expired"):
            await records.wait("event.begin")
        second = await placed.emit(("a", 1))
        await placed.emit(("b", 2))
        await until(lambda: ("b", 2) in runs.ended, 5)
        if way == "damaged":
            await queue.client.call(queue.keys.slot, "HSET", queue.keys.job(str(first.id)), "parent", "{")
        if way == "cancelled":
            await first.cancel()
        runs.gates["go"].set()
        await until(lambda: ("a", 1) in runs.ended, 5)
        assert runs.most["a"] == 1
        assert way == "kept" or await second.status() is None


async def leave(way: str, go: asyncio.Event) -> None:
    """End a run in that way, once told to."""
    await asyncio.sleep(5) if way in ("cancelled", "timed out") else await go.wait()
    if way == "snoozed":
        raise Snooze(30)
    if way == "rate limited":
        raise RateLimited(0.2)
    if way == "discarded":
        raise Discard("no use")
    if way == "failed" or way.startswith("retried"):
        raise ValueError


async def test_a_stop_that_puts_an_event_back_gives_its_share_back(url: str, make_herd: MakeHerd) -> None:
    runs = Runs()
    first, second = make_herd(url), make_herd(url)

    @first.event("order.placed", key=key_of, per_key=ONE)
    async def stuck(order: Order) -> None:
        await runs.run(order, 60)

    @second.event("order.placed", key=key_of, per_key=ONE)
    async def placed(order: Order) -> None:
        await runs.run(order)

    async with first, second:
        await first.start()
        await first["order.placed"].emit_many([("a", 0), ("a", 1)])
        await until(lambda: runs.begun == [("a", 0)])
        await second.start()
        await first.stop(0)
        await runs.wait(3, 5)
        # What was put back goes first.
        assert runs.begun == [("a", 0), ("a", 0), ("a", 1)]


async def test_an_event_without_a_key_has_no_limits(herd: Oxherd) -> None:
    runs = Runs()

    @herd.event("order.placed", key=lambda order: order[0] or None, per_key=ONE)
    async def placed(order: Order) -> None:
        await runs.run(order, 0.2)

    async with herd:
        await herd.start()
        await placed.emit_many([("", number) for number in range(5)])
        await runs.wait(5)
        assert runs.most[""] == 5


async def test_what_a_key_holds_back_keeps_its_priority(herd: Oxherd) -> None:
    runs = Runs()

    @herd.event("order.placed", key=key_of, per_key=ONE)
    async def placed(order: Order) -> None:
        await (runs.gates["go"].wait() if order[1] == 0 else runs.run(order))

    async with herd:
        await herd.start()
        await placed.emit(("a", 0))
        for number, priority in ((5, 5), (9, 9), (1, 1), (2, 1)):
            await placed.emit(("a", number), priority=priority)
        queue = await queue_of(herd)
        await until(lambda: held(queue, 4))
        runs.gates["go"].set()
        await runs.wait(4)
        assert runs.of("a") == [1, 2, 5, 9]


async def held(queue: BullQueue, count: int) -> bool:
    counts = await queue.counts()
    return counts["delayed"] == count and not counts["wait"] + counts["prioritized"]


async def test_what_is_held_back_waits_and_can_be_cancelled(herd: Oxherd) -> None:
    runs = Runs()

    @herd.event("order.placed", key=key_of, per_key=ONE)
    async def placed(order: Order) -> None:
        await (runs.gates["go"].wait() if order[1] == 0 else runs.run(order))

    async with herd:
        await herd.start()
        emitted = await placed.emit_many([("a", number) for number in range(4)])
        queue = await queue_of(herd)
        await until(lambda: held(queue, 3))
        status = await emitted[1].status()
        assert status is not None
        assert (status.state, status.due_at) == ("waiting", None)
        assert await emitted[1].cancel()
        runs.gates["go"].set()
        await runs.wait(2)
        assert runs.of("a") == [2, 3]


async def test_a_key_is_paused_and_resumed_by_itself(herd: Oxherd) -> None:
    runs = Runs()

    @herd.event("order.placed", key=key_of, per_key=PerKey())
    async def placed(order: Order) -> None:
        await runs.run(order)

    async with herd:
        await placed.pause(key="a")
        await placed.pause(key="a")
        await herd.start()
        await placed.emit_many([("a", 0), ("b", 0), ("a", 1)])
        await runs.wait(1)
        queue = await queue_of(herd)
        await until(lambda: held(queue, 2))
        assert runs.begun == [("b", 0)]
        began = time.monotonic()
        await placed.resume(key="a")
        await placed.resume(key="a")
        await runs.wait(3)
        assert time.monotonic() - began < 1
        assert runs.of("a") == [0, 1]
        assert await left_of_keys(queue) == []


async def test_a_key_of_a_sharded_event_is_limited_and_paused_on_its_shard(herd: Oxherd) -> None:
    runs = Runs()

    @herd.event("order.placed", key=lambda order: uuid4() if order[1] < 0 else order[0], per_key=ONE, shards=4)
    async def placed(order: Order) -> None:
        await runs.run(order)

    async with herd:
        await placed.pause(key="c")
        await herd.start()
        await placed.emit_many([(key, number) for number in range(5) for key in "abc"])
        await runs.wait(10)
        assert runs.of("c") == []
        await placed.resume(key="c")
        await runs.wait(15)
        assert runs.of("c") == list(range(5))
        assert set(runs.most.values()) == {1}


async def test_pausing_a_key_says_what_it_needs(herd: Oxherd) -> None:
    free = herd.declare("order.free", str)
    keyed = herd.declare("order.keyed", str, key=lambda order: order, per_key=ONE)
    with pytest.raises(
        UsageError, match=r"^order\.free: pause\(key=\.\.\.\) needs per_key=PerKey\(\.\.\.\) at the decl"
    ):
        await free.pause(key="secret")
    with pytest.raises(
        UsageError, match=r"^order\.keyed: resume\(key=\.\.\.\) takes what its key function returns: a str"
    ):
        await keyed.resume(key=1.5)  # pyright: ignore[reportArgumentType]


async def test_a_key_rests_at_a_limit_elsewhere_and_others_do_not(herd: Oxherd, records: Records) -> None:
    runs = Runs()

    @herd.event("order.placed", key=key_of, per_key=PerKey(), retry=Retry(attempts=1), concurrency=1)
    async def placed(order: Order, ctx: Context) -> None:
        if order == ("a", 0) and ctx.fence == 1:
            raise RateLimited(0.5)
        await runs.run(order)

    async with herd:
        await placed.emit_many([("a", 0), ("a", 1), ("b", 0)])
        began = time.monotonic()
        await herd.start()
        await runs.wait(1)
        assert runs.begun == [("b", 0)]
        assert time.monotonic() - began < 0.4
        await runs.wait(3)
        assert 0.5 <= time.monotonic() - began < 1.0
        (record,) = records.named("event.end", outcome="retrying")
        assert getattr(record, "attempt", 0) == 1


async def test_a_shorter_rest_does_not_shorten_a_longer_one(herd: Oxherd) -> None:
    runs = Runs()

    @herd.event("order.placed", key=key_of, per_key=PerKey(), concurrency=2)
    async def placed(order: Order, ctx: Context) -> None:
        if order[1] < 2 and ctx.fence == 1:
            await asyncio.sleep(order[1] * 0.1)
            raise RateLimited(0.2 if order[1] else 0.8)
        await runs.run(order)

    async with herd:
        await placed.emit_many([("a", 0), ("a", 1), ("a", 2)])
        began = time.monotonic()
        await herd.start()
        await runs.wait(3)
        assert time.monotonic() - began >= 0.8


async def test_events_that_share_a_queue_have_limits_of_their_own(herd: Oxherd) -> None:
    runs, others = Runs(), Runs()

    @herd.event("order.placed", key=key_of, per_key=ONE, queue="{orders}")
    async def placed(order: Order) -> None:
        await runs.run(order)

    @herd.event("order.shipped", key=key_of, per_key=PerKey(max_running=2), queue="{orders}")
    async def shipped(order: Order) -> None:
        await others.run(order, 0.02)

    @herd.event("order.free", queue="{orders}")
    async def free(order: Order) -> None: ...

    async with herd:
        await placed.start()
        await placed.emit_many([("a", number) for number in range(10)])
        await shipped.start()
        await free.start()
        await shipped.emit_many([("a", number) for number in range(10)])
        emitted = await free.emit(("a", 0))
        await emitted.result(timeout=5)
        await runs.wait(10)
        await others.wait(10)
        assert (runs.most["a"], others.most["a"]) == (1, 2)


async def test_what_others_emit_is_keyed_at_its_first_fetch_at_no_attempt(
    url: str, make_herd: MakeHerd, records: Records
) -> None:
    runs = Runs()
    herd, producer = make_herd(url), make_herd(url)
    free = producer.declare("order.placed", Order)

    @herd.event("order.placed", key=key_of, per_key=ONE)
    async def placed(order: Order) -> None:
        await runs.run(order)

    async with herd, producer:
        await free.emit_many([("a", number) for number in range(10)])
        await free.emit(("b", 0), priority=3)
        await herd.start()
        await runs.wait(11)
        assert runs.of("a") == list(range(10))
        assert runs.most["a"] == 1
        assert {getattr(record, "attempt", 0) for record in records.named("event.begin")} == {1}
        assert len(records.named("event.begin")) == 11


async def test_an_event_whose_key_cannot_be_told_fails(url: str, make_herd: MakeHerd, records: Records) -> None:
    herd, producer = make_herd(url), make_herd(url)
    free = producer.declare("order.placed", Order)

    @herd.event("order.placed", key=lambda order: 1 / order[1], per_key=ONE)
    async def placed(order: Order) -> None: ...

    async with herd, producer:
        await free.emit(("secret-key", 0))
        await herd.start()
        (error,) = await records.wait("queue.error", source="data")
        assert "its key function raised ZeroDivisionError" in str(error.error)


async def test_a_schedules_ticks_are_keyed(herd: Oxherd, records: Records) -> None:
    runs = Runs()

    @herd.event("order.placed", key=key_of, per_key=ONE)
    async def placed(order: Order) -> None:
        await runs.run(order, 0.05)

    async with herd:
        await placed.schedule("often", Every(0.2), ("a", 1))
        await herd.start()
        await placed.emit_many([("a", 0)] * 20)
        await until(lambda: runs.of("a").count(1) >= 3)
        assert runs.most["a"] == 1
        await placed.unschedule("often")


async def test_a_unique_event_has_the_limits_of_its_key(herd: Oxherd) -> None:
    runs = Runs()

    @herd.event("order.placed", key=key_of, per_key=ONE, unique=Unique(until="done", keep_last=True, by=lambda o: o[1]))
    async def placed(order: Order) -> None:
        await runs.run(order, 0.02)

    async with herd:
        await placed.emit_many([("a", 0), ("a", 1), ("a", 1), ("b", 1), ("a", 2)])
        await herd.start()
        await runs.wait(3)
        # The payload of the second came last as that of another key.
        assert sorted(runs.begun) == [("a", 0), ("a", 2), ("b", 1)]
        assert runs.most["a"] == 1


async def test_limits_that_a_declaration_drops_let_go_what_was_held_back(url: str, make_herd: MakeHerd) -> None:
    runs = Runs()
    before, after = make_herd(url), make_herd(url)

    @before.event("order.placed", key=key_of, per_key=ONE)
    async def placed(order: Order) -> None:
        await runs.run(order, 60)

    @after.event("order.placed", key=key_of)
    async def unlimited(order: Order) -> None:
        await runs.run(order)

    async with before, after:
        await before.start()
        await placed.emit_many([("a", number) for number in range(5)])
        queue = await queue_of(before)
        await until(lambda: held(queue, 4))
        await before.stop(0)
        assert len(runs.ended) == 1
        await after.start()
        await runs.wait(6, 5)


async def test_a_test_kit_waits_for_no_window(herd: Oxherd) -> None:
    runs = Runs()

    @herd.event("order.placed", key=key_of, per_key=PerKey(rate=Rate(2, per=600)))
    async def placed(order: Order) -> None:
        await runs.run(order, 0)

    async with herd:
        emitted: list[Emitted[None]] = await placed.emit_many([("a", number) for number in range(7)])
        assert len(emitted) == len(await run_until_empty(herd)) == 7
        assert runs.of("a") == list(range(7))


async def test_limits_by_key_are_set_at_run_time_and_hold_at_once(herd: Oxherd) -> None:
    runs = Runs()

    @herd.event("order.placed", key=key_of, per_key=ONE, shards=2, concurrency=10)
    async def placed(order: Order) -> None:
        await runs.run(order, 0.1 if order[1] < 10 else 5)

    async with herd:
        await herd.start()
        await placed.emit_many([("a", number) for number in range(10)])
        await runs.wait(1)
        assert (await placed.limits()).per_key == ONE
        await placed.set_limits(per_key=PerKey(max_running=4, rate=Rate(1000, per=60)))
        assert await placed.limits() == Limits(per_key=PerKey(max_running=4, rate=Rate(1000, per=60)))
        await runs.wait(10, 2)
        assert runs.most["a"] == 4
        await placed.set_limits(per_key=None)
        await placed.emit_many([("a", number) for number in range(10, 20)])
        await until(lambda: runs.running["a"] == 10, 2)
        await herd.stop(0)


async def test_setting_limits_by_key_says_what_it_needs(herd: Oxherd) -> None:
    free = herd.declare("order.free", str)
    keyed = herd.declare("order.keyed", str, key=lambda order: order, per_key=ONE)
    with pytest.raises(
        UsageError, match=r"^order\.free: set_limits\(per_key=\.\.\.\) needs per_key=PerKey\(\.\.\.\) at"
    ):
        await free.set_limits(per_key=ONE)
    with pytest.raises(DeclarationError, match=r"^order\.keyed: per_key must be a PerKey\(\.\.\.\)\.$"):
        await keyed.set_limits(per_key=3)  # pyright: ignore[reportArgumentType]


@pytest.mark.slow
async def test_a_key_with_a_hundred_thousand_waiting_holds_up_none_of_a_thousand_others(local_herd: Oxherd) -> None:
    """Prints the figures that docs/limits.md has."""
    runs, began = Runs(), dict[Order, float]()

    @local_herd.event("order.placed", key=key_of, per_key=ONE, concurrency=100)
    async def placed(order: Order) -> None:
        began[order] = time.monotonic()
        await runs.run(order, 0.01)

    async with local_herd:
        for start in range(0, 100_000, 5_000):
            await placed.emit_many([("busy", start + number) for number in range(5_000)])
        started = time.monotonic()
        await local_herd.start()
        emitted: dict[Order, float] = {("first", 0): time.monotonic()}
        await placed.emit(("first", 0))
        await until(lambda: ("first", 0) in began)
        for number in range(3):
            for key in range(999):
                order = (f"key {key}", number)
                emitted[order] = time.monotonic()
                await placed.emit(order)
        await until(lambda: emitted.keys() <= began.keys(), 60)
        first = began["first", 0] - started
        waits = sorted(began[order] - at for order, at in emitted.items() if order[0] != "first")
        print(f"first {first:.2f} s; then median {waits[len(waits) // 2]:.4f} s, longest {waits[-1]:.4f} s")
        assert first < 10
        assert waits[-1] < 1
        assert runs.most["busy"] == 1
        assert runs.of("busy") == list(range(len(runs.of("busy"))))
        await local_herd.stop(0)
