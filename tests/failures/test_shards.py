"""Shards on a cluster: evenly spread, and independent of each other when a primary or a worker falls silent."""

from __future__ import annotations

import asyncio
import signal
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from oxherd import Oxherd
from oxherd.bullmq.shard_registry import ShardRegistry
from oxherd.bullmq.shards import shard_of, shard_queues
from oxherd.servers.local_cluster import LocalCluster
from oxherd.servers.node import Node
from oxherd.telemetry.logs.reader import read_records
from tests.harness import Records, WorkerProcess, until

SHARDS = 12


class Order(BaseModel):
    number: int
    customer: str = "a"


@pytest.fixture
def own_cluster() -> Iterator[LocalCluster]:
    """Three primaries of the test's own, to be stopped: each serves its slots also while another does not."""
    with LocalCluster(replicas=0, settings={"cluster-require-full-coverage": "no"}) as cluster:
        yield cluster


def commands(node: Node) -> int:
    """How many commands a node has processed for clients."""
    return int(node.info("stats")["total_commands_processed"])


async def test_each_of_three_primaries_does_a_third_of_the_work(
    own_cluster: LocalCluster, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(own_cluster.url)

    @herd.event("order.placed", shards=SHARDS, concurrency=24)
    async def order_placed(order: Order) -> None: ...

    async with herd:
        await herd.start()
        before = [commands(node) for node in own_cluster.nodes]
        for _ in range(10):
            await order_placed.emit_many([Order(number=n) for n in range(600)])
        await records.wait("event.end", count=6000, outcome="completed", deadline=90)
        done = [commands(node) - count for node, count in zip(own_cluster.nodes, before, strict=True)]
    for count in done:
        assert count == pytest.approx(sum(done) / 3, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("concurrency", [1, 4, 24])
async def test_a_stopped_primary_holds_up_its_own_shards_only(
    own_cluster: LocalCluster, make_herd: Callable[..., Oxherd], records: Records, concurrency: int
) -> None:
    herd = make_herd(own_cluster.url, emit_timeout=60)
    runs: Counter[int] = Counter()

    @herd.event("order.placed", shards=SHARDS, key=lambda order: order.customer, concurrency=concurrency)
    async def order_placed(order: Order) -> None:
        await asyncio.sleep(0.001)
        runs[order.number] += 1

    keys = list(map(str, range(120)))
    orders = [Order(number=number, customer=key) for number, key in enumerate(keys * 3)]
    async with herd:
        await herd.start()
        await order_placed.emit_many(orders[:120])
        await records.wait("event.end", count=120, outcome="completed")
        backend = await herd.backend()
        names = shard_queues("order.placed", SHARDS)
        stopped = own_cluster.primary_of(backend.queue_named(names[0]).keys.slot)

        def elsewhere(order: Order) -> bool:
            slot = backend.queue_named(names[shard_of(order.customer.encode(), SHARDS)]).keys.slot
            return own_cluster.primary_of(slot) is not stopped

        others = [order for order in orders[120:] if elsewhere(order)]
        held = [order for order in orders[120:] if not elsewhere(order)]
        assert len(others) > len(held) > 20
        stopped.pause()
        try:
            waiting = asyncio.create_task(order_placed.emit_many(held))
            begun = time.monotonic()
            await order_placed.emit_many(others)
            await records.wait("event.end", count=120 + len(others), outcome="completed", deadline=10)
            took = time.monotonic() - begun
            assert sum(runs.values()) == 120 + len(others)
        finally:
            stopped.resume()
        await waiting
        await records.wait("event.end", count=360, outcome="completed", deadline=40)
    assert took < 6, "the others need not wait until the silence is noticed"
    assert runs == Counter(range(360))
    outages = [(vars(record)["node"], vars(record)["error"]) for record in records.named("redis.error")]
    assert {node for node, _ in outages} <= {f"127.0.0.1:{stopped.port}"}, outages
    assert len(outages) == len(records.named("redis.recovered")) <= 1, outages


async def test_a_home_primary_that_is_away_lets_emits_to_other_shards_through(
    own_cluster: LocalCluster, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd, other = make_herd(own_cluster.url), make_herd(own_cluster.url)
    event = herd.declare("order.placed", Order, shards=SHARDS, key=lambda order: order.customer)
    async with herd, other:
        # The connections are there; nothing of the event is stored.
        await herd.declare("order.billed", Order, shards=SHARDS).emit_many([Order(number=n) for n in range(SHARDS)])
        backend = await herd.backend()
        slots = [backend.queue_named(name).keys.slot for name in shard_queues("order.placed", SHARDS)]
        home = own_cluster.primary_of(slots[0])
        elsewhere = [shard for shard, slot in enumerate(slots) if own_cluster.primary_of(slot) is not home]
        keys = [str(n) for n in range(200) if shard_of(str(n).encode(), SHARDS) in elsewhere]
        home.pause()
        try:
            begun = time.monotonic()
            await event.emit(Order(number=0, customer=keys[0]))
            first, begun = time.monotonic() - begun, time.monotonic()
            await event.emit_many([Order(number=1, customer=key) for key in keys[1:]])
            others = time.monotonic() - begun
        finally:
            home.resume()
        assert first < 3, "the number of shards is announced in the background"
        assert others < 1
        registry = backend.shard_registry(event.declaration)
        reader = (await other.backend()).shard_registry(other.declare("order.placed", Order).declaration)
        await until(lambda: _is_most(reader, SHARDS))
        assert await registry.most() == SHARDS

        async def order_placed(order: Order) -> None: ...

        other["order.placed"].process(order_placed)
        await other.start()
        await records.wait("event.end", count=len(keys), outcome="completed")


async def _is_most(registry: ShardRegistry, shards: int) -> bool:
    return await registry.most() == shards


APP = """
import asyncio
from pathlib import Path
from pydantic import BaseModel
from oxherd import Context, Oxherd

herd = Oxherd(prefix={prefix!r})

class Order(BaseModel):
    number: int
    customer: str = "a"

@herd.event("order.placed", shards=3, key=lambda order: order.customer, ordered=True, lock=1)
async def order_placed(order: Order, ctx: Context) -> None:
    with Path("begun").open("a") as file:
        file.write(f"{{order.customer}} {{order.number}} {{ctx.fence}}\\n")
    if order.number == 3 and Path("hang").exists():
        await asyncio.sleep(60)
"""


def test_an_ordered_event_stays_in_order_when_its_worker_is_killed(
    tmp_path: Path, standalone: str, prefix: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    (tmp_path / "app.py").write_text(textwrap.dedent(APP.format(prefix=prefix)))
    (tmp_path / "hang").touch()
    herd = Oxherd(standalone, prefix=prefix)
    event = herd.declare("order.placed", Order, shards=3, key=lambda order: order.customer, ordered=True)
    event.emit_many_sync([Order(number=n, customer=key) for n in range(8) for key in "abcd"])
    herd.close_sync()
    first = start_worker(url=standalone)
    second = start_worker(url=standalone, log="second.jsonl")
    shards = {shard_of(key.encode(), 3) for key in "abcd"}
    _wait_for(tmp_path / "begun", lambda lines: sum(line[1] == 3 for line in lines) == len(shards))
    (tmp_path / "hang").unlink()
    for worker in (first, second):
        worker.signal(signal.SIGKILL)
        worker.exit()
    third = start_worker(url=standalone, log="third.jsonl")
    lines = _wait_for(tmp_path / "begun", lambda lines: len(lines) >= 8 * 4 + len(shards))
    assert third.stop() == 0
    for key in "abcd":
        own = [number for customer, number, _ in lines if customer == key]
        assert own in ([0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 3, 4, 5, 6, 7])
    assert sum(record["msg"] == "event.end" for record in read_records(tmp_path / "third.jsonl")) >= len(lines) // 2


def _wait_for(path: Path, enough: Callable[[list[tuple[str, int, int]]], bool]) -> list[tuple[str, int, int]]:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        text = path.read_text() if path.exists() else ""
        lines = [(key, int(number), int(fence)) for key, number, fence in map(str.split, text.splitlines())]
        if enough(lines):
            return lines
        time.sleep(0.05)
    raise AssertionError(f"not in time: {path.read_text()}")
