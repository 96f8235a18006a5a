"""One event over several queues: spread, fair, in order where that is asked for, and safe when their number changes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import uuid4

import pytest
from pydantic import BaseModel

from oxherd import Context, EmitError, Every, Oxherd, Retry, UsageError
from oxherd.bullmq.shards import shard_of, shard_queues, shards_of
from tests.harness import Records, until


class Order(BaseModel):
    number: int
    customer: str = "a"


def customer(order: Order) -> str:
    return order.customer


def keys_on(shard: int, shards: int, count: int = 1) -> list[str]:
    """Keys that belong to a shard."""
    found = (str(number) for number in range(100_000) if shard_of(str(number).encode(), shards) == shard)
    return [next(found) for _ in range(count)]


async def waiting(herd: Oxherd, event: str, shards: int) -> list[int]:
    """How many events wait on each shard."""
    backend = await herd.backend()
    counts = [await backend.queue_named(name).counts() for name in shard_queues(event, shards)]
    return [count["wait"] for count in counts]


async def test_a_sharded_event_is_spread_by_its_ids_and_runs_within_one_budget(herd: Oxherd, records: Records) -> None:
    running = peak = 0
    runs: Counter[int] = Counter()

    @herd.event("order.placed", shards=8, concurrency=6)
    async def order_placed(order: Order) -> None:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0.002)
        running -= 1
        runs[order.number] += 1

    async with herd:
        await order_placed.emit_many([Order(number=n) for n in range(400)])
        spread = await waiting(herd, "order.placed", 8)
        assert sum(spread) == 400
        assert min(spread) >= 20
        await herd.start()
        await records.wait("event.end", count=400, outcome="completed")
        assert await waiting(herd, "order.placed", 8) == [0] * 8
    assert runs == Counter(range(400))
    assert peak == 6


async def test_no_shard_starves_beside_one_with_a_backlog(herd: Oxherd, records: Records) -> None:
    shards = 6
    keys = [keys_on(shard, shards)[0] for shard in range(shards)]
    ended: list[str] = []

    @herd.event("order.placed", shards=shards, key=customer, concurrency=2)
    async def order_placed(order: Order) -> None:
        await asyncio.sleep(0.004)
        ended.append(order.customer)

    async with herd:
        await order_placed.emit_many([Order(number=n, customer=keys[0]) for n in range(300)])
        await herd.start()
        await records.wait("event.end", count=20)
        await order_placed.emit_many([Order(number=n, customer=key) for n in range(10) for key in keys[1:]])
        await records.wait("event.end", count=350, outcome="completed")
    last = max(index for index, key in enumerate(ended) if key != keys[0])
    assert last < 200, "fifty events beside a backlog of three hundred end long before it does"


async def test_the_events_of_a_key_stay_on_its_shard(herd: Oxherd) -> None:
    herd.declare("order.placed", Order, shards=5, key=customer)
    async with herd:
        await herd["order.placed"].emit_many([Order(number=n, customer="zoe") for n in range(7)])
        counts = await waiting(herd, "order.placed", 5)
    assert counts[shard_of(b"zoe", 5)] == sum(counts) == 7


async def test_an_ordered_event_runs_strictly_in_order_whatever_fails(
    url: str, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    shards, each = 4, 12
    keys = [key for shard in range(shards) for key in keys_on(shard, shards, 2)]
    begun: dict[int, list[tuple[str, int, int]]] = {shard: [] for shard in range(shards)}
    running: Counter[int] = Counter()

    async def process(order: Order, ctx: Context) -> None:
        shard = shard_of(order.customer.encode(), shards)
        running[shard] += 1
        assert running[shard] == 1, "one at a time"
        begun[shard].append((order.customer, order.number, ctx.attempt))
        await asyncio.sleep(0.001)
        running[shard] -= 1
        if order.number % 4 == 1 and ctx.attempt < 3:
            raise ConnectionError("try again")
        if order.number % 4 == 2:
            raise ValueError("never")

    herds = [make_herd(url) for _ in range(2)]
    for herd in herds:
        retry = Retry(attempts=3, delay=0.03)
        herd.event("order.placed", shards=shards, key=customer, ordered=True, concurrency=3, retry=retry)(process)
    async with herds[0], herds[1]:
        await herds[0]["order.placed"].emit_many([Order(number=n, customer=key) for n in range(each) for key in keys])
        for herd in herds:
            await herd.start()
        total = len(keys) * each
        await until(lambda: len(records.named("event.end")) == total + total // 2 + total // 2)
    for shard in range(shards):
        own = [key for key in keys if shard_of(key.encode(), shards) == shard]
        wanted = [
            (key, n, attempt)
            for n in range(each)
            for key in own
            for attempt in ((1, 2, 3) if n % 4 in (1, 2) else (1,))
        ]
        assert begun[shard] == wanted


def counting(runs: Counter[int]) -> Callable[[Order], Coroutine[Any, Any, None]]:
    async def order_placed(order: Order) -> None:
        runs[order.number] += 1

    return order_placed


async def test_events_that_wait_on_other_numbers_of_shards_are_found(
    url: str, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    for shards in (1, 3, 8):
        async with make_herd(url) as old:
            await old.declare("order.placed", Order, shards=shards).emit_many([Order(number=shards)] * 10)
    for shards in (5, 1):
        async with make_herd(url) as herd:
            await herd.declare("order.placed", Order, shards=shards).emit(Order(number=shards))
            runs: Counter[int] = Counter()
            herd["order.placed"].process(counting(runs))
            await herd.start()
            wanted = {1: 10, 3: 10, 8: 10, 5: 1} if shards == 5 else {1: 1, 7: 4}
            if shards == 1:
                async with make_herd(url) as other:
                    await other.declare("order.placed", Order, shards=7).emit_many([Order(number=7)] * 4)
                # A number that is announced while we run is found at the next look: at once after a start.
                await herd.stop()
                await herd.start()
            await until(lambda runs=runs, wanted=wanted: dict(runs) == wanted)


async def test_order_is_kept_where_each_number_of_shards_is_drained_before_the_next(
    url: str, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    begun: dict[str, list[int]] = {key: [] for key in "abcde"}

    async def process(order: Order) -> None:
        begun[order.customer].append(order.number)

    for turn, shards in enumerate((1, 4, 2, 3)):
        herd = make_herd(url)
        event = herd.event("order.placed", shards=shards, key=customer, ordered=True)(process)
        async with herd:
            await event.emit_many([Order(number=6 * turn + n, customer=key) for n in range(6) for key in begun])
            await herd.start()
            await records.wait("event.end", count=30 * (turn + 1), outcome="completed")
    assert begun == {key: list(range(24)) for key in begun}


@pytest.mark.slow
async def test_a_worker_finds_the_shards_of_newer_emitters_while_it_runs(
    standalone: str, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    async with make_herd(standalone) as old, make_herd(standalone) as new:

        @old.event("order.placed", shards=2)
        async def order_placed(order: Order) -> None: ...

        await old.start()
        await order_placed.emit(Order(number=0))
        await records.wait("event.end", outcome="completed")
        await new.declare("order.placed", Order, shards=9).emit_many([Order(number=n) for n in range(18)])
        await records.wait("event.end", count=19, outcome="completed", deadline=40)


@pytest.mark.parametrize("first", [1, 6])
async def test_an_id_makes_one_event_also_where_the_number_of_shards_changed(
    url: str, make_herd: Callable[..., Oxherd], first: int
) -> None:
    # An id that has another shard with each of these numbers.
    event_id = next(i for _ in range(10_000) if shards_of(str(i := uuid4()).encode(), 6) == [0, 1, 3, 5])
    for shards in (first, 6, 4, 2, 1):
        async with make_herd(url) as herd:
            emitted = await herd.declare("order.placed", Order, shards=shards).emit(Order(number=1), id=event_id)
            assert emitted.id == event_id
            backend = await herd.backend()
            names = shard_queues("order.placed", 6)
            holding = [name for name in names if await backend.queue_named(name).holds(str(event_id))]
            assert len(holding) == 1


async def test_a_tick_of_a_keyed_event_takes_its_place_on_the_shard_of_its_key(herd: Oxherd, records: Records) -> None:
    order = Order(number=1, customer=keys_on(2, 3)[0])
    ran = 0

    @herd.event("order.placed", shards=3, key=customer, ordered=True)
    async def order_placed(order: Order, ctx: Context) -> None:
        nonlocal ran
        ran += 1

    async with herd:
        await order_placed.schedule("each", Every(0.5), order)
        await herd.start()
        ends = await records.wait("event.end", count=2, outcome="completed")
        assert await order_placed.unschedule("each")
        backend = await herd.backend()
        shard = backend.queue_named(shard_queues("order.placed", 3)[2])
        stream = await backend.client.call(shard.keys.slot, "XRANGE", shard.keys.events, "-", "+")
        completed = [entry for entry in stream if b"completed" in entry[1]]
    assert len({end.event_id for end in ends}) == len(ends)
    assert len(completed) == ran == len(records.named("event.begin"))


async def test_a_stop_puts_back_what_runs_on_every_shard(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed", shards=4, concurrency=8)
    async def order_placed(order: Order) -> None:
        await asyncio.sleep(60)

    async with herd:
        await order_placed.emit_many([Order(number=n) for n in range(20)])
        await herd.start()
        await records.wait("event.begin", count=8)
        await herd.stop(timeout=0.1)
        assert sum(await waiting(herd, "order.placed", 4)) == 20
    assert len(records.named("event.end", outcome="requeued")) == len(records.named("event.begin")) == 8


async def test_the_largest_number_of_shards_is_remembered(url: str, make_herd: Callable[..., Oxherd]) -> None:
    for shards, most in ((1, 1), (6, 6), (4, 6), (8, 8), (1, 8)):
        async with make_herd(url) as herd:
            event = herd.declare("order.placed", Order, shards=shards)
            await event.emit(Order(number=1))
            assert await (await herd.backend()).shard_registry(event.declaration).most() == most


async def test_an_emit_fails_while_its_number_of_shards_cannot_be_announced(herd: Oxherd, records: Records) -> None:
    event = herd.declare("order.placed", Order, shards=4)
    async with herd:
        backend = await herd.backend()
        home = backend.queue(event.declaration).keys
        await backend.client.call(home.slot, "SET", f"{home.base}shards", "damaged")
        with pytest.raises(EmitError, match="WRONGTYPE") as caught:
            await event.emit(Order(number=1))
        assert not caught.value.maybe_stored
        assert [vars(record)["source"] for record in records.named("queue.error")] == ["emit"]
        await backend.client.call(home.slot, "DEL", f"{home.base}shards")
        await event.emit(Order(number=1))
        assert sum(await waiting(herd, "order.placed", 4)) == 1


async def test_a_key_that_cannot_be_taken_is_refused_before_anything_is_sent(herd: Oxherd) -> None:
    def key(order: Order) -> str:
        return order.customer if order.number < 1400 else 1 / 0  # pyright: ignore[reportReturnType]

    event = herd.declare("order.placed", Order, shards=3, key=key)
    async with herd:
        with pytest.raises(UsageError, match="key function raised ZeroDivisionError"):
            await event.emit_many([Order(number=n) for n in range(1500)])
        assert await waiting(herd, "order.placed", 3) == [0, 0, 0]
