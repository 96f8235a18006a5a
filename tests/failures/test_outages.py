"""Redis away, slow, restarted: nothing lost, work that was done is not run again, two records for each outage."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from pydantic import BaseModel

from oxherd import Context, EmitError, Oxherd, Retry
from oxherd.servers.standalone import StandaloneServer
from tests.harness import Records, until


class Order(BaseModel):
    order_id: int


@pytest.fixture
def server() -> Iterator[StandaloneServer]:
    """A server of the test's own, with an append-only file, to be broken."""
    with StandaloneServer(settings={"appendonly": "yes", "appendfsync": "always"}) as server:
        yield server


async def counts(herd: Oxherd, event: str) -> dict[str, int]:
    backend = await herd.backend()
    return await backend.queue(herd[event].declaration).counts()


async def test_redis_down_at_boot_is_one_error_and_the_worker_starts_when_it_comes(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(server.url)

    @herd.event("order.placed")
    async def order_placed(order: Order) -> None: ...

    server.terminate()
    async with herd:
        await herd.start()
        (error,) = await records.wait("redis.error")
        assert error.source == "connect"
        await asyncio.sleep(1.5)  # an outage that lasts: many attempts, still one record
        server.start()
        emitted = await order_placed.emit(Order(order_id=1))
        await records.wait("event.end", event_id=emitted.id, outcome="completed")
        assert len(records.named("redis.error")) == 1
        (recovered,) = records.named("redis.recovered")
        assert vars(recovered)["outage_ms"] > 1000
    assert not records.named("queue.error")


@pytest.mark.parametrize("how", ["killed", "restarted", "paused"])
async def test_an_outage_under_load_loses_nothing_and_runs_nothing_that_succeeded_again(
    how: str, server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(server.url)
    runs: Counter[int] = Counter()

    @herd.event("order.placed", concurrency=20, lock=2, timeout=60)
    async def order_placed(order: Order) -> None:
        await asyncio.sleep(0.02)
        runs[order.order_id] += 1

    async with herd:
        await order_placed.emit_many([Order(order_id=i) for i in range(600)])
        await herd.start()
        await records.wait("event.end", count=100, outcome="completed")
        if how == "paused":
            server.pause()
        elif how == "killed":
            server.kill()
        else:
            server.terminate()
        # Longer than the lock: what runs loses its lock while Redis is away.
        await asyncio.sleep(4)
        if how == "paused":
            server.resume()
        else:
            server.start()
        await records.wait("event.end", count=600, outcome="completed", deadline=40)

        async def drained() -> bool:
            state = await counts(herd, "order.placed")
            return state["wait"] == state["active"] == state["delayed"] == 0

        await until(drained)
        assert set(runs.values()) == {1}
        assert len(runs) == 600
        assert len(records.named("redis.error")) == len(records.named("redis.recovered")) <= 1
        reported = [vars(record) for record in records.named("queue.error")]
        faults = Counter[tuple[str, str]]((each["source"], each["error"]["type"]) for each in reported)
        if how == "killed":
            # A fetch whose answer was lost with the server is put back once the worker finds it, unless its lock runs
            # out before.
            assert faults.pop(("stalled", "Stalled"), 0) <= 20
            assert faults.pop(("fetch", "Reclaimed"), 0) <= 1
        assert not faults, faults
    begins, ends = records.named("event.begin"), records.named("event.end")
    assert Counter((vars(r)["event_id"], vars(r)["fence"]) for r in begins) == Counter(
        (vars(r)["event_id"], vars(r)["fence"]) for r in ends
    )


async def test_a_server_that_is_busy_for_seconds_is_no_outage_to_a_worker_that_waits(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(server.url)

    @herd.event("order.placed", lock=2)  # which lets a wait last a second
    async def order_placed(order: Order) -> None: ...

    async with herd:
        await herd.start()
        emitted = await order_placed.emit(Order(order_id=1))
        await records.wait("event.end", event_id=emitted.id)
        server.pause()
        await asyncio.sleep(5)
        server.resume()
        emitted = await order_placed.emit(Order(order_id=2))
        await records.wait("event.end", event_id=emitted.id, outcome="completed")
    assert not records.named("redis.error")
    assert not records.named("queue.error")


async def test_connections_killed_at_random_cost_nothing(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(server.url)
    runs: Counter[int] = Counter()

    @herd.event("order.placed", concurrency=20)
    async def order_placed(order: Order) -> None:
        await asyncio.sleep(0.005)
        runs[order.order_id] += 1

    async with herd:
        await order_placed.emit_many([Order(order_id=i) for i in range(1000)])
        await herd.start()
        for ended in range(100, 900, 200):
            await records.wait("event.end", count=ended, outcome="completed")
            server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await records.wait("event.end", count=1000, outcome="completed", deadline=40)
        assert set(runs.values()) == {1}
        assert len(records.named("redis.error")) == len(records.named("redis.recovered"))


async def test_flushed_scripts_are_loaded_again(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(server.url)

    @herd.event("order.placed")
    async def order_placed(order: Order) -> None: ...

    async with herd:
        await herd.start()
        for number in range(3):
            server.command("SCRIPT", "FLUSH")
            emitted = await order_placed.emit(Order(order_id=number))
            await records.wait("event.end", event_id=emitted.id, outcome="completed")
    assert not records.named("queue.error")
    assert not records.named("redis.error")


async def test_an_emit_that_cannot_be_acknowledged_says_so_and_whether_it_may_be_stored(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(server.url, emit_timeout=0.5)
    event = herd.declare("order.placed", Order)
    async with herd:
        await event.emit(Order(order_id=1))
        server.pause()
        with pytest.raises(EmitError, match="may be stored") as caught:
            await event.emit(Order(order_id=2))
        assert caught.value.maybe_stored
        server.resume()
        await event.emit(Order(order_id=2))
        server.terminate()
        await records.wait("redis.error")  # the loss is known: nothing is sent into it any more
        with pytest.raises(EmitError, match="is not stored") as caught:
            await event.emit(Order(order_id=3))
        assert not caught.value.maybe_stored
        server.start()


async def test_an_emit_that_was_told_not_stored_is_not_stored_later(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(server.url, emit_timeout=0.5)
    patient = make_herd(server.url)
    event = herd.declare("order.placed", Order)
    async with patient:
        # It takes connections, and does not greet those who connect.
        server.pause()
        with pytest.raises(EmitError, match="is not stored") as caught:
            await event.emit(Order(order_id=1))
        assert not caught.value.maybe_stored
        server.resume()
        # Comes behind whatever was still on its way.
        await event.emit(Order(order_id=2))
        assert (await counts(herd, "order.placed"))["wait"] == 1
        await herd.close()


async def test_an_emit_outlives_a_blip(server: StandaloneServer, make_herd: Callable[..., Oxherd]) -> None:
    herd = make_herd(server.url)
    event = herd.declare("order.placed", Order)
    async with herd:
        await event.emit(Order(order_id=0))
        server.kill()
        emitting = asyncio.create_task(event.emit_many([Order(order_id=i) for i in range(50)]))
        await asyncio.sleep(0.5)
        server.start()
        assert len(await emitting) == 50
        assert (await counts(herd, "order.placed"))["wait"] == 51


async def test_a_damaged_key_is_a_bounded_number_of_records_and_other_events_go_on(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(server.url)

    @herd.event("order.placed")
    async def order_placed(order: Order) -> None: ...

    @herd.event("order.shipped")
    async def order_shipped(order: Order) -> None: ...

    async with herd:
        backend = await herd.backend()
        keys = backend.queue(order_placed.declaration).keys
        server.command("SET", keys.wait, "damaged")
        await herd.start()
        (fault,) = await records.wait("queue.error", source="fetch")
        assert fault.queue == "{order.placed}"
        emitted = await order_shipped.emit(Order(order_id=1))
        await records.wait("event.end", event_id=emitted.id, outcome="completed")
        with pytest.raises(EmitError):
            await order_placed.emit(Order(order_id=1))
        await asyncio.sleep(2)
        assert len(records.named("queue.error", source="fetch")) == 1
        server.command("DEL", keys.wait)
        emitted = await order_placed.emit(Order(order_id=1))
        await records.wait("event.end", event_id=emitted.id, outcome="completed")


async def test_an_event_that_a_damaged_queue_refused_is_not_taken_for_stored(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(server.url)
    event_id = uuid4()

    @herd.event("order.placed")
    async def order_placed(order: Order) -> None: ...

    async with herd:
        keys = (await herd.backend()).queue(order_placed.declaration).keys
        server.command("SET", keys.wait, "damaged")
        with pytest.raises(EmitError, match="is not stored"):
            await order_placed.emit(Order(order_id=1), id=event_id)
        server.command("DEL", keys.wait)
        await order_placed.emit(Order(order_id=1), id=event_id)
        await herd.start()
        await records.wait("event.end", event_id=event_id, outcome="completed")


async def test_a_full_server_is_one_outage(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(server.url, emit_timeout=1)
    event = herd.declare("order.placed", Order)
    async with herd:
        await event.emit(Order(order_id=1))
        server.command("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(EmitError):
            await event.emit(Order(order_id=2))
        (error,) = records.named("redis.error")
        assert vars(error)["source"] == "command"
        server.command("CONFIG", "SET", "maxmemory", "0")
        await event.emit(Order(order_id=3))
        assert len(records.named("redis.recovered")) == 1


async def test_an_event_whose_lock_ran_out_on_a_full_server_is_completed_and_not_run_again(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(server.url)
    go_on = asyncio.Event()

    @herd.event("order.placed", lock=0.4)
    async def order_placed(order: Order) -> None:
        await go_on.wait()

    async with herd:
        emitted = await order_placed.emit(Order(order_id=1))
        await herd.start()
        await records.wait("event.begin")
        backend = await herd.backend()
        keys = backend.queue(order_placed.declaration).keys
        lock = keys.job(str(emitted.id)) + ":lock"
        await backend.client.call(keys.slot, "DEL", lock)
        server.command("CONFIG", "SET", "maxmemory", 1)
        # Taken again although nothing else may be written.
        await until(lambda: exists(herd, lock))
        await backend.client.call(keys.slot, "DEL", lock)
        go_on.set()
        await records.wait("event.end", event_id=emitted.id, outcome="completed")
        server.command("CONFIG", "SET", "maxmemory", 0)
    assert len(records.named("event.begin")) == 1


async def exists(herd: Oxherd, key: str) -> bool:
    return bool(await (await herd.backend()).client.call(0, "EXISTS", key))


async def test_a_stop_during_an_outage_ends_within_its_timeout(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(server.url)

    @herd.event("order.placed", retry=Retry(attempts=1))
    async def order_placed(order: Order, ctx: Context) -> None:
        await asyncio.sleep(60)

    async with herd:
        emitted = await order_placed.emit(Order(order_id=1))
        await herd.start()
        await records.wait("event.begin")
        server.terminate()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        report = await herd.stop(timeout=1)
        took = loop.time() - begun
        # It could not be put back: its lock runs out, and another worker begins it.
        assert records.named("event.end", event_id=emitted.id, outcome="lost")
        assert report.stranded == report.cancelled == [emitted.id]
        assert report.left_behind >= 1  # a fetch may have been under way, too
        (stop,) = records.named("worker.stop", stranded=1)
        assert vars(stop)["stranded_ids"] == [str(emitted.id)]
        assert took < 1.5
        server.start()
