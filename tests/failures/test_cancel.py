"""Cancelling across processes, deaths, outages, parents, and keys that are damaged."""

from __future__ import annotations

import asyncio
import json
import signal
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oxherd import EventCancelled, Oxherd, OxherdError, RedisUnavailable, UsageError
from oxherd.bullmq.queue import BullQueue
from oxherd.servers.local_cluster import LocalCluster
from oxherd.servers.standalone import StandaloneServer
from oxherd.testing import captured, inline
from tests.harness import Records, WorkerProcess, until
from tests.lossy import LossyWay

LOCK = 1.5
WHY = "customer called"

APP = f"""
import asyncio, time
from pathlib import Path
from oxherd import Context, Oxherd

herd = Oxherd(prefix={{prefix!r}})

def wait(ctx: Context, polite: bool) -> None:
    ctx.log.info("running")
    end = time.monotonic() + 60
    while time.monotonic() < end and not (polite and ctx.cancelled):
        time.sleep(0.01)
    ctx.log.info(f"heard {{{{ctx.cancelled!r}}}}")
    raise ValueError("half done")

@herd.event("loop", lock={LOCK})
async def loop(order: int, ctx: Context) -> None:
    ctx.log.info("running")
    try:
        await asyncio.sleep(60)
    finally:
        ctx.log.info(f"heard {{{{ctx.cancelled!r}}}}")

@herd.event("thread", lock={LOCK})
def thread(order: int, ctx: Context) -> None:
    wait(ctx, True)

@herd.event("process", lock={LOCK}, run_in="process")
def process(order: int, ctx: Context) -> None:
    wait(ctx, True)

@herd.event("deaf", lock={LOCK}, run_in="process")
def deaf(order: int, ctx: Context) -> None:
    wait(ctx, False)
"""


@pytest.fixture
def app(tmp_path: Path, prefix: str) -> Path:
    (tmp_path / "app.py").write_text(textwrap.dedent(APP).format(prefix=prefix))
    return tmp_path


@pytest.fixture
def server() -> Iterator[StandaloneServer]:
    """A server of the test's own, to be broken."""
    with StandaloneServer(settings={"appendonly": "yes", "appendfsync": "always"}) as server:
        yield server


async def queue_of(herd: Oxherd, event: str = "order.placed") -> BullQueue:
    return (await herd.backend()).queue(herd[event].declaration)


async def call(queue: BullQueue, command: str, key: str, *arguments: Any) -> Any:
    return await queue.client.call(queue.keys.slot, command, queue.keys.base + key, *arguments)


# -- another process


@pytest.mark.parametrize("event", ["loop", "thread", "process", "deaf"])
async def test_a_handler_in_another_process_hears_of_it_within_a_second(
    standalone: str, prefix: str, app: Path, start_worker: Callable[..., WorkerProcess], event: str
) -> None:
    herd = Oxherd(standalone, prefix=prefix)
    declared = herd.declare(event, int)
    worker = start_worker("--event", event, url=standalone)
    async with herd:
        emitted = await declared.emit(1)
        await asyncio.to_thread(worker.wait, "running")
        asked_at = time.monotonic()
        assert await emitted.cancel(WHY)
        with pytest.raises(EventCancelled) as raised:
            await emitted.result(timeout=10)
        assert time.monotonic() - asked_at < 1.5, "within a second, and the time of what it does then"
    assert raised.value.reason == WHY
    await asyncio.to_thread(worker.wait, "event.end", outcome="cancelled")
    heard = worker.count(f"heard Cancelled(reason={WHY!r})")
    assert heard == (0 if event == "deaf" else 1), "one that does not hear is killed with its process"
    assert worker.stop() == 0


@pytest.mark.parametrize("event", ["loop", "process"])
async def test_a_worker_that_dies_between_the_wish_and_the_deed_takes_nothing_along(
    standalone: str, prefix: str, app: Path, start_worker: Callable[..., WorkerProcess], event: str
) -> None:
    herd = Oxherd(standalone, prefix=prefix)
    declared = herd.declare(event, int)
    worker = start_worker("--event", event, url=standalone)
    async with herd:
        emitted = await declared.emit(1)
        await asyncio.to_thread(worker.wait, "event.begin")
        worker.signal(signal.SIGSTOP)
        assert await emitted.cancel(WHY)
        worker.signal(signal.SIGKILL)
        other = start_worker("--event", event, url=standalone, log="other.jsonl")
        with pytest.raises(EventCancelled, match=WHY):
            await emitted.result(timeout=20)
        await asyncio.to_thread(other.wait, "event.cancelled", event_id=str(emitted.id))
    assert other.count("event.begin") == 0
    assert other.stop() == 0


async def test_a_script_may_cancel_as_well(standalone: str, prefix: str) -> None:
    herd = Oxherd(standalone, prefix=prefix)
    order_placed = herd.declare("order.placed", int)

    def script() -> tuple[bool, bool]:
        emitted = order_placed.emit_sync(1)
        return emitted.cancel_sync(WHY), emitted.cancel_sync()

    assert await asyncio.to_thread(script) == (True, False)
    await asyncio.to_thread(herd.close_sync)


async def test_another_prefix_has_another_event(standalone: str, prefix: str) -> None:
    herds = [Oxherd(standalone, prefix=prefix + suffix) for suffix in ("", "x")]
    events = [herd.declare("order.placed", int) for herd in herds]
    async with herds[0], herds[1]:
        emitted = await events[0].emit(1)
        assert await events[1].emitted(emitted.id).cancel() is False
        assert await emitted.cancel() is True


# -- outages


async def test_a_removal_whose_reply_was_lost_counts_as_done(
    server: StandaloneServer, make_herd: Callable[..., Oxherd]
) -> None:
    async with LossyWay(server.url) as way:
        near, far = make_herd(server.url), make_herd(way.url)
        order_placed = near.declare("order.placed", int)
        far.declare("order.placed", int)
        async with near, far:
            emitted = await order_placed.emit(1)
            distant = far["order.placed"].emitted(emitted.id)
            # So that the server knows the script.
            assert await far["order.placed"].emitted("never-was").cancel() is False
            way.lose_answers()
            cancelling = asyncio.create_task(distant.cancel(WHY))
            queue = await queue_of(near)
            await until(lambda: is_gone(queue, str(emitted.id)))
            assert await emitted.cancel() is False, "somebody else did"
            way.cut()
            assert await cancelling is True


async def is_gone(queue: BullQueue, job_id: str) -> bool:
    return not await queue.holds(job_id)


async def test_it_waits_through_an_outage_for_as_long_as_an_emit(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(server.url, emit_timeout=5)
    order_placed = herd.declare("order.placed", int)
    async with herd:
        first, second = await order_placed.emit(1), await order_placed.emit(2)
        server.terminate()
        cancelling = asyncio.create_task(first.cancel())
        await records.wait("redis.error")
        server.start()
        assert await cancelling is True
        server.terminate()
        herd = make_herd(server.url, emit_timeout=0.5)
        impatient = herd.declare("order.placed", int).emitted(second.id)
        async with herd:
            began = time.monotonic()
            with pytest.raises(RedisUnavailable):
                await impatient.cancel()
            assert time.monotonic() - began < 2
        server.start()


async def test_a_running_event_hears_of_it_after_an_outage(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(server.url)

    @herd.event("order.placed", lock=2)
    async def order_placed(order: int) -> None:
        await asyncio.sleep(60)

    async with herd:
        emitted = await order_placed.emit(1)
        await order_placed.start()
        await records.wait("event.begin")
        server.terminate()
        await records.wait("redis.error")
        cancelling = asyncio.create_task(emitted.cancel(WHY))
        server.start()
        assert await cancelling
        with pytest.raises(EventCancelled, match=WHY):
            await emitted.result(timeout=10)
        await records.wait("event.end", outcome="cancelled")


async def test_a_request_survives_a_failover(
    cluster: LocalCluster, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(cluster.url)

    @herd.event("order.placed")
    async def order_placed(order: int) -> None:
        await asyncio.sleep(60)

    async with herd:
        emitted = await order_placed.emit(1)
        await order_placed.start()
        await records.wait("event.begin")
        slot = (await queue_of(herd)).keys.slot
        failing = asyncio.to_thread(cluster.failover, cluster.replica_of(cluster.primary_of(slot)))
        _, cancelled = await asyncio.gather(failing, emitted.cancel(WHY))
        assert cancelled
        with pytest.raises(EventCancelled, match=WHY):
            await emitted.result(timeout=20)


# -- parents and children, and what others have damaged


async def store_parent(queue: BullQueue, children: list[str]) -> None:
    """A parent in the same queue that waits for its children."""
    await call(queue, "HSET", "parent", "name", "order.placed", "data", "1", "opts", "{}", "timestamp", 1)
    await call(queue, "ZADD", "waiting-children", 1, "parent")
    await call(queue, "SADD", "parent:dependencies", *(queue.keys.base + child for child in children))
    parent = {"id": "parent", "queueKey": queue.keys.base[:-1]}
    for child in children:
        await call(queue, "HSET", child, "parentKey", queue.keys.base + "parent", "parent", json.dumps(parent))


async def test_a_parent_goes_on_without_its_cancelled_children(url: str, make_herd: Callable[..., Oxherd]) -> None:
    herd = make_herd(url)
    order_placed = herd.declare("order.placed", int)
    async with herd:
        children = [await order_placed.emit(number) for number in range(2)]
        queue = await queue_of(herd)
        await store_parent(queue, [str(child.id) for child in children])
        assert await children[0].cancel()
        assert await call(queue, "ZCARD", "waiting-children") == 1
        assert await children[1].cancel()
        assert await call(queue, "LRANGE", "wait", 0, -1) == [b"parent"]


async def test_a_parent_that_is_cancelled_while_it_waits_ends_before_its_begin(
    local_herd: Oxherd, records: Records
) -> None:
    ran: list[int] = []

    @local_herd.event("order.placed")
    async def order_placed(order: int) -> None:
        ran.append(order)

    async with local_herd:
        child = await order_placed.emit(2)
        await store_parent(await queue_of(local_herd), [str(child.id)])
        parent = order_placed.emitted("parent")
        assert await parent.cancel(WHY)
        status = await parent.status()
        assert status is not None
        assert status.state == "waiting_children"
        await order_placed.start()
        with pytest.raises(EventCancelled, match=WHY):
            await parent.result(timeout=10)
    assert ran == [2]


async def test_a_child_whose_parent_cannot_be_told_is_ended_by_its_worker(
    cluster: LocalCluster, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(cluster.url)
    ran: list[int] = []

    @herd.event("order.placed")
    async def order_placed(order: int) -> None:
        ran.append(order)

    async with herd:
        child = await order_placed.emit(1)
        queue = await queue_of(herd)
        elsewhere = f"{queue.keys.base.partition(':')[0]}:{{elsewhere}}"
        parent = json.dumps({"id": "parent", "queueKey": elsewhere})
        await call(queue, "HSET", str(child.id), "parentKey", f"{elsewhere}:parent", "parent", parent)
        assert await child.cancel(WHY)
        assert (await queue.counts())["wait"] == 1
        await order_placed.start()
        with pytest.raises(EventCancelled, match=WHY):
            await child.result(timeout=10)
        (fault,) = await records.wait("queue.error", source="finish")
    assert fault.error["type"] == "ParentElsewhere"
    assert ran == []


@pytest.mark.parametrize("key", ["events", "marker", "wait"])
async def test_a_damaged_key_loses_no_event(local_herd: Oxherd, key: str) -> None:
    order_placed = local_herd.declare("order.placed", int)
    async with local_herd:
        emitted = await order_placed.emit(1, delay=60)
        if key == "wait":
            emitted = await order_placed.emit(2, priority=1)
            await call(await queue_of(local_herd), "ZREM", "prioritized", str(emitted.id))
        queue = await queue_of(local_herd)
        await call(queue, "DEL", key)
        await call(queue, "HSET" if key != "wait" else "SET", key, *(["a", 1] if key != "wait" else [1]))
        with pytest.raises(OxherdError, match=r"cannot be cancelled .*mend that key"):
            await emitted.cancel()
        assert await queue.holds(str(emitted.id))
        await call(queue, "DEL", key)
        assert await emitted.cancel() is (key != "wait")


async def test_what_is_no_job_is_left_alone(local_herd: Oxherd) -> None:
    order_placed = local_herd.declare("order.placed", int)
    async with local_herd:
        queue = await queue_of(local_herd)
        await call(queue, "SET", "text", "x")
        with pytest.raises(OxherdError, match="text cannot be cancelled"):
            await order_placed.emitted("text").cancel()
        await call(queue, "HSET", "repeat:1", "name", "a schedule of Node's that is named 1")
        for name in ("meta", "repeat:1"):
            assert await order_placed.emitted(name).cancel() is False
            assert await call(queue, "HEXISTS", name, "ox:cancel") == 0
        assert await call(queue, "EXISTS", "repeat:1") == 1


async def test_a_damaged_limit_of_the_event_stream_loses_no_event(local_herd: Oxherd) -> None:
    order_placed = local_herd.declare("order.placed", int)
    async with local_herd:
        emitted = await order_placed.emit(1)
        queue = await queue_of(local_herd)
        await call(queue, "HSET", "meta", "opts.maxLenEvents", "many")
        with pytest.raises(OxherdError, match="this key is damaged"):
            await emitted.cancel()
        await call(queue, "HSET", "meta", "opts.maxLenEvents", 100)
        assert await emitted.cancel() is True


async def test_a_damaged_set_of_requests_is_one_error_and_stops_nothing(local_herd: Oxherd, records: Records) -> None:
    @local_herd.event("order.placed")
    async def order_placed(order: int) -> None:
        await asyncio.sleep(60 if order else 1.2)

    async with local_herd:
        await order_placed.start()
        queue = await queue_of(local_herd)
        await call(queue, "SET", "cancels", "x")
        await (await order_placed.emit(0)).result(timeout=10)
        assert len(records.named("queue.error", source="fetch")) == 1
        await call(queue, "DEL", "cancels")
        emitted = await order_placed.emit(1)
        await records.wait("event.begin", event_id=emitted.id)
        assert await emitted.cancel()
        await records.wait("event.end", outcome="cancelled")


# -- what a caller may pass, and tests of applications


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        (7, "order.placed: cancel() takes the reason as a str of at most 500 characters."),
        (None, "order.placed: cancel() takes the reason as a str of at most 500 characters."),
        ("x" * 501, "order.placed: cancel() takes the reason as a str of at most 500 characters."),
        ("\ud83d", "order.placed: the reason of a cancel() has half of a surrogate pair; pass whole text."),
    ],
)
async def test_a_reason_that_cannot_be_kept_is_refused(local_herd: Oxherd, reason: Any, sentence: str) -> None:
    order_placed = local_herd.declare("order.placed", int)
    async with local_herd:
        emitted = await order_placed.emit(1)
        with pytest.raises(UsageError) as raised:
            await emitted.cancel(reason)
        assert str(raised.value) == sentence
        assert await emitted.cancel("größer 🐂" * 50)


async def test_what_is_captured_can_be_cancelled_and_what_ran_inline_has_ended(local_herd: Oxherd) -> None:
    @local_herd.event("order.placed")
    async def order_placed(order: int) -> None: ...

    with captured(local_herd) as emits:
        emitted = await order_placed.emit(1, delay=60)
        assert [await emitted.cancel(WHY), await emitted.cancel()] == [True, False]
        assert await order_placed.emitted("another").cancel() is False
        assert emits.cancelled == {emitted.id: WHY}
        with pytest.raises(EventCancelled, match=WHY):
            await emitted.result()
    with inline(local_herd):
        assert await (await order_placed.emit(1)).cancel() is False
