"""Durable emits that nobody can confirm, that are not confirmed in time, and that lose their primary."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel

from oxherd import EmitError, NotDurable, Oxherd
from oxherd.bullmq.shards import shard_queues
from oxherd.servers.local_cluster import LocalCluster
from oxherd.servers.process import ServerProcess
from oxherd.servers.standalone import StandaloneServer
from tests.harness import Records, following, until
from tests.local_sentinel import LocalSentinel


class Order(BaseModel):
    order_id: int = 1


@pytest.fixture
def server() -> Iterator[StandaloneServer]:
    """A Valkey of the test's own, without replica and append-only file."""
    with StandaloneServer() as server:
        yield server


@pytest.fixture
def on_disk() -> Iterator[StandaloneServer]:
    """A Valkey with an append-only file that the operating system flushes."""
    with StandaloneServer(settings={"appendonly": "yes", "appendfsync": "no"}) as server:
        yield server


@pytest.fixture
def own_cluster() -> Iterator[LocalCluster]:
    """A cluster of the test's own, to break."""
    with LocalCluster() as cluster:
        yield cluster


async def stored(herd: Oxherd) -> int:
    """The number of waiting events of `order.placed`."""
    backend = await herd.backend()
    return (await backend.queue(herd["order.placed"].declaration).counts())["wait"]


async def slot_of(herd: Oxherd) -> int:
    return (await herd.backend()).queue(herd["order.placed"].declaration).keys.slot


# -- nobody can confirm it


async def test_a_server_that_cannot_confirm_fails_the_emit_at_once_and_gets_nothing(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    event = (herd := make_herd(server.url)).declare("order.placed", Order, durable=True)
    async with herd:
        begun = time.monotonic()
        with pytest.raises(NotDurable, match=r"is not stored: .* append-only file is off; set appendonly") as caught:
            await event.emit(Order())
        assert (caught.value.missing, caught.value.replicas, caught.value.maybe_stored) == ("disk", (0, 0), False)
        with pytest.raises(NotDurable, match="0 of 600 were acknowledged: ") as caught:
            await event.emit_many([Order()] * 600)
        assert (caught.value.missing, caught.value.emitted, caught.value.maybe_stored) == ("disk", [], False)
        assert time.monotonic() - begun < 3
        assert await stored(herd) == 0
        # Once fixed, it is trusted without a restart.
        server.command("CONFIG", "SET", "appendonly", "yes")
        await event.emit(Order())
        assert await stored(herd) == 1
        server.command("CONFIG", "SET", "appendonly", "no")
        with pytest.raises(NotDurable, match="is stored on the primary: ") as caught:
            await event.emit(Order())
        assert caught.value.maybe_stored
        with pytest.raises(NotDurable, match="is not stored"):
            await event.emit(Order())
        assert await stored(herd) == 2
    assert not records.named("redis.error")


@pytest.mark.redis7
async def test_a_redis_without_waitaof_needs_a_replica(
    redis7_binary: Path, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    with StandaloneServer(binary=redis7_binary, settings={"appendonly": "yes"}) as primary:
        event = (herd := make_herd(primary.url)).declare("order.placed", Order, durable=True)
        async with herd:
            with pytest.raises(NotDurable, match="no WAITAOF; give it a replica, or use Valkey") as caught:
                await event.emit(Order())
            assert (caught.value.missing, caught.value.maybe_stored) == ("disk", False)
            assert await stored(herd) == 0
            with StandaloneServer(binary=redis7_binary, settings=following(primary)) as replica:
                await until(replica.linked)
                await event.emit(Order())
            # The replica is gone while the connection stays.
            with pytest.raises(NotDurable, match="no replica"):
                await event.emit(Order())
    assert not records.named("redis.error")


@pytest.mark.parametrize("command", ["info", "waitaof"])
async def test_a_missing_right_fails_the_emit_at_once_and_nothing_is_sent(
    command: str, on_disk: StandaloneServer, make_herd: Callable[..., Oxherd]
) -> None:
    on_disk.command("ACL", "SETUSER", "worker", "on", ">secret", "~*", "&*", "+@all", f"-{command}")
    herd = make_herd(f"redis://worker:secret@127.0.0.1:{on_disk.port}/0")
    event = herd.declare("order.placed", Order, durable=True)
    async with herd:
        begun = time.monotonic()
        with pytest.raises(NotDurable, match=r"permission.*grant WAIT and WAITAOF") as caught:
            await event.emit(Order())
        assert not caught.value.maybe_stored
        assert time.monotonic() - begun < 3
        assert await stored(herd) == 0


# -- not confirmed in time


async def test_a_disk_that_does_not_confirm_in_time_is_named(
    on_disk: StandaloneServer, make_herd: Callable[..., Oxherd]
) -> None:
    event = (herd := make_herd(on_disk.url, emit_timeout=1.3)).declare("order.placed", Order, durable=True)
    event_id = uuid4()
    async with herd:
        begun = time.monotonic()
        with pytest.raises(NotDurable, match="is stored on the primary, but its disk did not confirm") as caught:
            await event.emit(Order(), id=event_id)
        assert 1.2 < time.monotonic() - begun < 4
        assert (caught.value.missing, caught.value.replicas, caught.value.maybe_stored) == ("disk", (0, 0), True)
        on_disk.command("CONFIG", "SET", "appendfsync", "always")
        await event.emit(Order(), id=event_id)
        assert await stored(herd) == 1


async def test_a_server_that_was_a_replica_meanwhile_does_not_confirm_what_it_has_lost(
    on_disk: StandaloneServer, server: StandaloneServer, make_herd: Callable[..., Oxherd]
) -> None:
    event = (herd := make_herd(on_disk.url)).declare("order.placed", Order, durable=True)
    async with herd:
        emitting = asyncio.create_task(event.emit(Order()))
        await until(lambda: " cmd=waitaof" in on_disk.text("CLIENT", "LIST"))
        on_disk.command("CONFIG", "SET", "masterauth", str(server.password))
        on_disk.command("REPLICAOF", "127.0.0.1", server.port)
        await until(lambda: on_disk.linked() and on_disk.command("DBSIZE") == 0)
        assert not emitting.done()
        on_disk.command("CONFIG", "SET", "appendfsync", "always")
        on_disk.command("REPLICAOF", "NO", "ONE")
        await emitting
        assert await stored(herd) == 1


async def test_every_connected_replica_has_to_confirm(
    server: StandaloneServer, make_herd: Callable[..., Oxherd]
) -> None:
    event = (herd := make_herd(server.url, emit_timeout=2.5)).declare("order.placed", Order, durable=True)
    with StandaloneServer(settings=following(server)) as one, StandaloneServer(settings=following(server)) as other:
        await until(lambda: one.linked() and other.linked())
        async with herd:
            await event.emit(Order())
            one.pause()
            with pytest.raises(NotDurable) as caught:
                await event.emit(Order())
            assert (caught.value.missing, caught.value.replicas) == ("replicas", (1, 2))
            # A replica that is gone is waited for until the server knows.
            one.kill()
            await event.emit(Order())
            other.kill()
            with pytest.raises(NotDurable, match="is stored on the primary: the server has no replica") as caught:
                await event.emit(Order())
            assert await stored(herd) == 4


@pytest.mark.parametrize("batched", [True, False], ids=["batched", "bullmq"])
async def test_a_paused_replica_is_named_and_holds_up_nothing_else_and_may_come_back(
    batched: bool, own_cluster: LocalCluster, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(own_cluster.url, emit_timeout=3, batched=batched)

    @herd.event("order.placed", concurrency=5)
    async def order_placed(order: Order) -> None: ...

    async with herd:
        await herd.start()
        await order_placed.emit(Order(), durable=True)
        replica = own_cluster.replica_of(own_cluster.primary_of(await slot_of(herd)))
        replica.pause()
        begun = time.monotonic()
        event_id = uuid4()
        emitting = asyncio.create_task(order_placed.emit(Order(), id=event_id, durable=True))
        await records.wait("event.end", outcome="completed", event_id=event_id)
        # Emitted behind it, these are not sent while it waits.
        behind = asyncio.create_task(order_placed.emit_many([Order()] * 120, durable=True))
        # Neither the worker nor another emit waits with them.
        others = await order_placed.emit_many([Order()] * 200)
        await records.wait("event.end", count=202, outcome="completed")
        assert not emitting.done()
        assert len(others) == 200
        with pytest.raises(NotDurable, match="is stored on the primary, but 0 of 1 replicas confirmed") as caught:
            await emitting
        assert 2.9 < time.monotonic() - begun < 6
        assert (caught.value.missing, caught.value.replicas, caught.value.maybe_stored) == ("replicas", (0, 1), True)
        with pytest.raises(NotDurable, match=r"0 of 120 were acknowledged: .* 0 of 1 replicas") as caught:
            await behind
        assert (caught.value.missing, caught.value.replicas, caught.value.emitted) == ("replicas", (0, 1), [])

        event_id = uuid4()
        emitting = asyncio.create_task(order_placed.emit(Order(), id=event_id, durable=True))
        await records.wait("event.end", outcome="completed", event_id=event_id)
        assert not emitting.done()
        replica.resume()
        await emitting
        await order_placed.emit_many([Order()] * 120, durable=True)
        await records.wait("event.end", count=323, outcome="completed")
    assert not records.named("redis.error")


async def test_an_emit_of_many_on_several_primaries_lists_those_that_were_confirmed(
    own_cluster: LocalCluster, make_herd: Callable[..., Oxherd]
) -> None:
    herd = make_herd(own_cluster.url, emit_timeout=1)
    event = herd.declare("order.placed", Order, shards=3, durable=True)
    async with herd:
        await event.emit_many([Order()] * 30)
        backend = await herd.backend()
        queues = [backend.queue_named(name) for name in shard_queues("order.placed", 3)]
        replica = own_cluster.replica_of(own_cluster.primary_of(queues[1].keys.slot))
        replica.pause()
        with pytest.raises(NotDurable, match=r"\d+ of 300 were acknowledged") as caught:
            await event.emit_many([Order()] * 300)
        assert caught.value.maybe_stored
        held = [[await queue.holds(str(each.id)) for each in caught.value.emitted] for queue in queues]
        confirmed = [sum(each) for each in held]
        assert confirmed[1] == 0
        assert sum(confirmed) == len(caught.value.emitted) == int(str(caught.value).split()[0])
        assert min(confirmed[0], confirmed[2]) > 50
        replica.resume()


# -- the connection or the primary is lost


@pytest.mark.parametrize("batched", [True, False], ids=["batched", "bullmq"])
async def test_a_lost_connection_is_no_confirmation_and_the_event_is_added_once(
    batched: bool, own_cluster: LocalCluster, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(own_cluster.url, batched=batched)
    event = herd.declare("order.placed", Order, durable=True)
    async with herd:
        await event.emit(Order())
        primary = own_cluster.primary_of(await slot_of(herd))
        replica = own_cluster.replica_of(primary)
        replica.pause()
        emitting = asyncio.create_task(event.emit(Order()))
        await until(lambda: " cmd=wait" in primary.text("CLIENT", "LIST"))
        for _ in range(2):
            primary.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await until(lambda: " cmd=wait" in primary.text("CLIENT", "LIST"))
        assert not emitting.done()
        replica.resume()
        await emitting
        assert await stored(herd) == 2
    assert len(records.named("redis.error")) == len(records.named("redis.recovered"))


async def test_a_slot_that_moves_under_durable_load_is_followed(
    own_cluster: LocalCluster, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(own_cluster.url)
    runs: Counter[int] = Counter()

    @herd.event("order.placed", durable=True, once=60)
    async def order_placed(order: Order) -> None:
        runs[order.order_id] += 1

    async with herd:
        await herd.start()
        slot = await slot_of(herd)
        emitting = asyncio.create_task(_emit_each(herd, range(400)))
        await records.wait("event.end", count=50, outcome="completed")
        source = own_cluster.primary_of(slot)
        target = next(node for node in own_cluster.nodes if node.role() == "primary" and node.port != source.port)
        await asyncio.to_thread(own_cluster.move_slot, slot, target)
        await emitting
        await _emit_each(herd, range(400, 450))
        await records.wait("event.end", count=450, outcome="completed", deadline=30)
    assert runs == Counter(range(450))
    assert not records.named("redis.error")


async def _emit_each(herd: Oxherd, numbers: range) -> None:
    for number in numbers:
        await herd["order.placed"].emit(Order(order_id=number))


async def _load(herd: Oxherd, end: asyncio.Event, acknowledged: set[UUID]) -> int:
    """Emit until the end with 20 tasks; returns how many emits failed."""
    failed = 0

    async def emit() -> None:
        nonlocal failed
        while not end.is_set():
            event_id = uuid4()
            try:
                await herd["order.placed"].emit(Order(), id=event_id)
            except EmitError:
                failed += 1
            else:
                acknowledged.add(event_id)
            await asyncio.sleep(0.02)

    await asyncio.gather(*(emit() for _ in range(20)))
    return failed


async def _added(herd: Oxherd) -> Counter[bytes]:
    """How often each id was added, by the queue's event stream."""
    backend = await herd.backend()
    queue = backend.queue(herd["order.placed"].declaration)
    stream = await backend.client.call(queue.keys.slot, "XRANGE", queue.keys.events, "-", "+")
    entries = (dict(zip(entry[::2], entry[1::2], strict=True)) for _, entry in stream)
    return Counter(entry[b"jobId"] for entry in entries if entry[b"event"] == b"added")


async def _lose_the_primary(
    herd: Oxherd, primary: ServerProcess, replica: ServerProcess, records: Records
) -> Counter[bytes]:
    """Kill the primary under load, and restart it after the failover; every acknowledged event is processed."""

    @herd.event("order.placed", concurrency=20, lock=5, durable=True, once=60)
    async def order_placed(order: Order) -> None: ...

    acknowledged: set[UUID] = set()
    end = asyncio.Event()
    async with herd:
        await herd.start()
        loading = asyncio.create_task(_load(herd, end, acknowledged))
        await until(lambda: len(acknowledged) > 100)
        primary.kill()
        await until(lambda: replica.role() == "primary")
        # Until then nothing is confirmed: the new primary has no replica.
        before = len(acknowledged)
        await asyncio.sleep(0.5)
        assert len(acknowledged) == before
        await asyncio.to_thread(primary.start)
        await until(lambda: len(acknowledged) > before + 200, deadline=40)
        end.set()
        assert await loading == 0
        wanted = set(map(str, acknowledged))
        await until(lambda: {vars(end)["event_id"] for end in records.named("event.end")} >= wanted, deadline=40)
        return await _added(herd)


async def test_a_primary_of_a_cluster_that_is_killed_costs_no_durable_event_and_adds_none_twice(
    own_cluster: LocalCluster, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    primary = own_cluster.primary_of("{order.placed}")
    replica = own_cluster.replica_of(primary)
    added = await _lose_the_primary(make_herd(own_cluster.url, emit_timeout=30), primary, replica, records)
    assert set(added.values()) == {1}


@pytest.mark.slow
async def test_a_primary_behind_sentinel_that_is_killed_costs_no_durable_event_and_adds_none_twice(
    make_herd: Callable[..., Oxherd], records: Records
) -> None:
    with LocalSentinel() as sentinel:
        primary, replica = sentinel.primary(), sentinel.replica()
        added = await _lose_the_primary(make_herd(sentinel.url, emit_timeout=30), primary, replica, records)
    assert set(added.values()) == {1}


@pytest.mark.parametrize(("once", "runs"), [(None, 2), (60, 1)], ids=["without once", "once"])
async def test_a_durable_event_that_has_run_before_the_fail_over_runs_again_only_without_once(
    once: float | None, runs: int, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    with LocalCluster(replicas=2) as cluster:
        herd = make_herd(cluster.url, emit_timeout=40)

        @herd.event("order.placed", durable=True, once=once)
        async def order_placed(order: Order) -> None: ...

        async with herd:
            await herd.start()
            await order_placed.emit(Order())
            primary = cluster.primary_of("{order.placed}")
            first, second = [node for node in cluster.nodes if node.myself().primary_id == primary.id]
            second.pause()
            # One replica has the event, and that it was completed; the emit waits for the other.
            event_id = uuid4()
            emitting = asyncio.create_task(order_placed.emit(Order(), id=event_id))
            await records.wait("event.end", outcome="completed", event_id=event_id)
            written = int(primary.info("replication")["master_repl_offset"])
            await until(lambda: int(first.info("replication")["slave_repl_offset"]) >= written)
            assert not emitting.done()
            primary.kill()
            await until(lambda: first.role() == "primary", deadline=40)
            second.resume()
            await emitting
            last = await order_placed.emit(Order())
            await records.wait("event.end", outcome="completed", event_id=last.id)
            if runs == 2:
                await records.wait("event.end", count=2, outcome="completed", event_id=event_id)
    assert len(records.named("event.begin", event_id=event_id)) == runs
