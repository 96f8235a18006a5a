"""The registry of workers: who is alive, what for, and what each of them runs."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import BaseModel

from oxherd import Context, DeclarationError, Emitted, Event, Keep, Oxherd, Running, WorkerInfo
from oxherd.bullmq.inspection import stored_keys
from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.shards import shard_queues
from oxherd.bullmq.worker_records import worker_info
from oxherd.testing import captured
from tests.harness import Records, until


class Order(BaseModel):
    number: int = 0


async def queue_of(herd: Oxherd, event: str) -> BullQueue:
    return (await herd.backend()).queue(herd[event].declaration)


async def registry_keys(herd: Oxherd, event: str) -> list[str]:
    return [key for key in await stored_keys(await queue_of(herd, event)) if key.startswith("worker")]


async def alone(herd: Oxherd) -> WorkerInfo:
    """The one worker of a herd, once there is one."""
    (worker,) = await until(herd.workers)
    return worker


async def test_a_worker_says_who_it_is_until_it_stops(url: str, make_herd: Callable[..., Oxherd]) -> None:
    herd = make_herd(url, version="1.4.2")

    @herd.event("order.placed")
    async def order_placed(order: Order) -> None: ...

    @herd.event("mail.send")
    async def mail_send(order: Order) -> None: ...

    unserved = herd.declare("order.other", Order)
    async with herd:
        assert await herd.workers() == []
        began = datetime.now(UTC) - timedelta(milliseconds=1)
        await herd.start()
        await until(lambda: registered(herd, {"order.placed", "mail.send"}))
        worker = await alone(herd)
        assert (worker.host, worker.pid, worker.version) == (socket.gethostname(), os.getpid(), "1.4.2")
        assert worker.id.startswith(f"{worker.host}:{worker.pid}:")
        assert worker.events == ("mail.send", "order.placed")
        assert began <= worker.since <= datetime.now(UTC)
        # By the server's clock, which is this machine's.
        assert began <= worker.last_seen <= datetime.now(UTC)
        assert (worker.running, worker.running_count) == ((), 0)
        assert [each.id for each in await order_placed.workers()] == [worker.id]
        assert await unserved.workers() == []
        await order_placed.stop()
        assert await order_placed.workers() == []
        assert (await alone(herd)).events == ("mail.send",)
        await herd.stop()
        assert await herd.workers() == []
        for name in ("order.placed", "mail.send"):
            assert await registry_keys(herd, name) == []


async def registered(herd: Oxherd, events: set[str]) -> bool:
    return {event for worker in await herd.workers() for event in worker.events} == events


async def test_a_job_names_the_worker_that_runs_it_and_no_lock_token_is_given_twice(
    herd: Oxherd, records: Records
) -> None:
    hold = asyncio.Event()
    names = ["order.placed", "mail.send"]
    emitted: list[Emitted[None]] = []
    for name in names:

        @herd.event(name, keep=Keep(completed=10), shards=3)
        async def handle(order: Order, ctx: Context) -> None:
            await hold.wait()

    async with herd:
        backend = await herd.backend()
        for name in names:
            emitted = await herd[name].emit_many([Order()] * 5)
        await herd.start()
        await records.wait("event.begin", count=10)
        worker = await alone(herd)
        status = await emitted[0].status()
        assert status is not None
        assert status.worker == worker.id
        tokens: list[str] = []
        for queue in [*shard_queues(names[0], 3), *shard_queues(names[1], 3)]:
            k = backend.queue_named(queue).keys
            for job in await backend.client.call(k.slot, "LRANGE", k.active, 0, -1):
                assert (await backend.client.call(k.slot, "HGET", k.job(job.decode()), "pb")).decode() == worker.id
                tokens.append((await backend.client.call(k.slot, "GET", k.job(job.decode()) + ":lock")).decode())
        assert len(set(tokens)) == len(tokens) == 10
        assert {token.rpartition(":")[0] for token in tokens} == {worker.id}
        found = await worker_info(await queue_of(herd, "order.placed"), worker.id)
        assert found is not None
        assert (found.id, found.events) == (worker.id, ("order.placed",))
        hold.set()
        await records.wait("event.end", count=10)


@pytest.mark.slow
async def test_what_a_worker_runs_on_all_shards_is_in_its_record(herd: Oxherd, records: Records) -> None:
    hold = asyncio.Event()

    @herd.event("order.placed", shards=4, concurrency=150)
    async def order_placed(order: Order) -> None:
        await hold.wait()

    async with herd:
        await order_placed.emit_many([Order()] * 130)
        await herd.start()
        begins = await records.wait("event.begin", count=130)
        (worker,) = await until(lambda: counting(herd, 130))
        begun = {begin.event_id for begin in begins}
        assert len(worker.running) == 100
        assert {str(run.id) for run in worker.running} <= begun
        run = worker.running[0]
        assert isinstance(run, Running)
        assert (run.event, run.since.tzinfo) == ("order.placed", UTC)
        assert worker.since <= run.since <= worker.running[-1].since <= datetime.now(UTC)
        backend = await herd.backend()
        for shard in shard_queues("order.placed", 4)[1:]:
            assert not [key for key in await stored_keys(backend.queue_named(shard)) if key.startswith("worker")]
        hold.set()
        await records.wait("event.end", count=130)
        await until(lambda: counting(herd, 0))


async def counting(herd: Oxherd, running: int) -> list[WorkerInfo]:
    return [worker for worker in await herd.workers() if worker.running_count == running]


async def test_workers_of_a_shared_queue_are_those_of_the_events_they_process(
    url: str, make_herd: Callable[..., Oxherd]
) -> None:
    herds = [make_herd(url) for _ in range(2)]
    for herd, served in zip(herds, ("order.placed", "mail.send"), strict=True):
        for name in ("order.placed", "mail.send"):
            event = herd.declare(name, Order, queue="{shared}")
            if name == served:

                async def handle(order: Order) -> None: ...

                event.process(handle)
    async with herds[0], herds[1]:
        for herd in herds:
            await herd.start()
        first, second = await until(lambda: both(herds[0]))
        assert first.id != second.id, "two herds in one process are two workers"
        assert first.pid == second.pid
        assert {first.events, second.events} == {("order.placed",), ("mail.send",)}
        for name in ("order.placed", "mail.send"):
            (worker,) = await herds[0][name].workers()
            assert worker.events == (name,)


async def test_an_event_that_starts_or_stops_beside_others_of_its_queue_is_listed_or_not_at_once(herd: Oxherd) -> None:
    @herd.event("order.placed", queue="{shared}")
    async def order_placed(order: Order) -> None: ...

    @herd.event("mail.send", queue="{shared}")
    async def mail_send(order: Order) -> None: ...

    async with herd:
        await order_placed.start()
        await until(order_placed.workers)
        for _ in range(2):
            await mail_send.start()
            (worker,) = await until(mail_send.workers, deadline=2)
            assert worker.events == ("mail.send", "order.placed")
            await mail_send.stop()
            await until(lambda: none_of(mail_send), deadline=2)
        assert (await alone(herd)).events == ("order.placed",)


async def none_of(event: Event[Order, None]) -> bool:
    return not await event.workers()


async def both(herd: Oxherd) -> list[WorkerInfo]:
    found = await herd.workers()
    return found if len(found) == 2 else []


async def test_a_worker_that_drains_is_listed_until_its_last_event_has_ended(herd: Oxherd, records: Records) -> None:
    hold = asyncio.Event()

    @herd.event("order.placed")
    async def order_placed(order: Order) -> None:
        await hold.wait()

    async with herd:
        await order_placed.emit(Order())
        await order_placed.start()
        await records.wait("event.begin")
        first = await alone(herd)
        stopping = asyncio.create_task(order_placed.stop())
        await until(lambda: not herd.processing)
        assert [worker.id for worker in await herd.workers()] == [first.id]
        # Started anew while it stops, it has another name: neither takes the other's jobs for its own.
        await order_placed.start()
        workers = await until(lambda: both(herd))
        await order_placed.emit(Order())
        await records.wait("event.begin", count=2)
        hold.set()
        await stopping
        await records.wait("event.end", count=2, outcome="completed")
        assert [worker.id for worker in await herd.workers()] == [w.id for w in workers if w.id != first.id]
        await order_placed.stop()
        await order_placed.start()
        assert (await alone(herd)).id == first.id


async def test_nobody_is_asked_while_a_test_keeps_the_emits() -> None:
    herd = Oxherd("redis://127.0.0.1:1")
    order_placed = herd.declare("order.placed", Order)
    with captured(herd):
        assert await herd.workers() == []
        assert await order_placed.workers() == []


@pytest.mark.parametrize("version", ["", "v" * 65, "1\n2", "\ud800", 3, b"1", 1.4, True])
def test_a_version_that_cannot_be_shown_is_refused(version: object) -> None:
    with pytest.raises(DeclarationError) as caught:
        Oxherd(version=version)  # pyright: ignore[reportArgumentType]
    says = "version must be a printable text of 1 to 64 characters, such as '1.4.2', or None."
    assert str(caught.value) == says
