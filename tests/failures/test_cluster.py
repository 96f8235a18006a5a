"""A cluster that changes under load: slots that move, primaries that die."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from pydantic import BaseModel

from oxherd import ConfigError, Oxherd
from oxherd.servers.local_cluster import LocalCluster
from tests.harness import Records


class Order(BaseModel):
    order_id: int


@pytest.fixture
def own_cluster() -> Iterator[LocalCluster]:
    """A cluster of the test's own, to be broken."""
    with LocalCluster() as cluster:
        yield cluster


def loaded(herd: Oxherd, runs: Counter[int]) -> None:
    @herd.event("order.placed", concurrency=10, lock=5)
    async def order_placed(order: Order) -> None:
        await asyncio.sleep(0.01)
        runs[order.order_id] += 1


async def emit_steadily(herd: Oxherd, first: int, count: int) -> None:
    for number in range(first, first + count):
        await herd["order.placed"].emit(Order(order_id=number))


async def test_events_spread_over_the_primaries_each_in_a_slot_of_its_own(
    cluster: LocalCluster, make_herd: Callable[..., Oxherd]
) -> None:
    herd = make_herd(cluster.url)
    slots: set[int] = set()
    nodes: set[str] = set()
    async with herd:
        backend = await herd.backend()
        for number in range(12):
            event = herd.declare(f"order.{number}", Order)
            await event.emit(Order(order_id=number))
            slot = backend.queue(event.declaration).keys.slot
            slots.add(slot)
            nodes.add((await backend.client.topology.node(slot)).name)
    assert len(slots) == 12
    assert len(nodes) == 3


async def test_a_slot_that_moves_under_load_is_followed(
    own_cluster: LocalCluster, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(own_cluster.url)
    runs: Counter[int] = Counter()
    loaded(herd, runs)
    async with herd:
        await herd.start()
        backend = await herd.backend()
        slot = backend.queue(herd["order.placed"].declaration).keys.slot
        emitting = asyncio.create_task(emit_steadily(herd, 0, 400))
        await records.wait("event.end", count=50, outcome="completed")
        source = own_cluster.primary_of(slot)
        target = next(node for node in own_cluster.nodes if node.role() == "primary" and node.port != source.port)
        await asyncio.to_thread(own_cluster.move_slot, slot, target)
        await emitting
        await emit_steadily(herd, 400, 50)
        await records.wait("event.end", count=450, outcome="completed", deadline=30)
        assert (await backend.client.topology.node(slot)).name == f"127.0.0.1:{target.port}"
    assert set(runs.values()) == {1}
    assert len(runs) == 450
    assert not records.named("redis.error")


async def test_a_fail_over_under_load_is_followed_without_a_restart(
    own_cluster: LocalCluster, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(own_cluster.url, emit_timeout=30)
    runs: Counter[int] = Counter()
    loaded(herd, runs)
    async with herd:
        await herd.start()
        backend = await herd.backend()
        slot = backend.queue(herd["order.placed"].declaration).keys.slot
        await emit_steadily(herd, 0, 50)
        await records.wait("event.end", count=50, outcome="completed")
        primary = own_cluster.primary_of(slot)
        primary.kill()
        await emit_steadily(herd, 50, 100)
        await records.wait("event.end", count=150, outcome="completed", deadline=40)
        errors, recovered = records.named("redis.error"), records.named("redis.recovered")
        assert len(errors) == len(recovered)
        assert len([e for e in errors if vars(e)["node"] == f"127.0.0.1:{primary.port}"]) == 1
    assert len(runs) == 150


async def test_a_replica_promoted_by_hand_is_followed(
    own_cluster: LocalCluster, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(own_cluster.url)
    runs: Counter[int] = Counter()
    loaded(herd, runs)
    async with herd:
        await herd.start()
        backend = await herd.backend()
        slot = backend.queue(herd["order.placed"].declaration).keys.slot
        emitting = asyncio.create_task(emit_steadily(herd, 0, 300))
        await records.wait("event.end", count=50, outcome="completed")
        replica = own_cluster.replica_of(own_cluster.primary_of(slot))
        await asyncio.to_thread(own_cluster.failover, replica)
        await emitting
        await records.wait("event.end", count=300, outcome="completed", deadline=30)
    assert len(runs) == 300
    assert set(runs.values()) == {1}


async def test_a_queue_without_a_hash_tag_is_refused(cluster: LocalCluster, make_herd: Callable[..., Oxherd]) -> None:
    herd = make_herd(cluster.url)
    event = herd.declare("order.placed", Order, queue="orders")
    async with herd:
        with pytest.raises(ConfigError, match="hash tag"):
            await event.emit(Order(order_id=1))
