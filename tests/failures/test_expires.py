"""`expires=` where workers die, stop or are held up, where answers are lost, and where much expires at once."""

from __future__ import annotations

import asyncio
import signal
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import pytest
from pydantic import AfterValidator

from oxherd import Oxherd, Retry
from oxherd.bullmq.queue import BullQueue
from oxherd.servers.standalone import StandaloneServer
from tests.harness import Records, WorkerProcess
from tests.lossy import LossyWay

LOCK = 0.5


@pytest.fixture
def server() -> Iterator[StandaloneServer]:
    """A server of the test's own."""
    with StandaloneServer() as server:
        yield server


APP = f"""
import asyncio, time
from pathlib import Path
from oxherd import Oxherd

herd = Oxherd(prefix={{prefix!r}})

@herd.event("order.loop", lock={LOCK}, expires=2)
async def order_loop(order: int) -> None:
    if Path("slow").exists():
        await asyncio.sleep(60)

@herd.event("order.thread", lock={LOCK}, expires=2)
def order_thread(order: int) -> None:
    if Path("slow").exists():
        time.sleep(60)

@herd.event("order.process", lock={LOCK}, expires=2, run_in="process")
def order_process(order: int) -> None:
    if Path("slow").exists():
        time.sleep(60)
"""


def test_an_event_whose_worker_was_killed_over_it_never_expires(
    server: StandaloneServer, tmp_path: Path, prefix: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    (tmp_path / "app.py").write_text(textwrap.dedent(APP).format(prefix=prefix))
    (tmp_path / "slow").touch()
    producer = Oxherd(server.url, prefix=prefix)
    first = start_worker(url=server.url, log="first.jsonl")
    first.wait("worker.start")
    emitted = [
        producer.declare(name, int, expires=2).emit_sync(1) for name in ("order.loop", "order.thread", "order.process")
    ]
    first.wait("event.begin", count=3)
    first.signal(signal.SIGKILL)
    first.exit()
    (tmp_path / "slow").unlink()
    time.sleep(2)
    second = start_worker(url=server.url, log="second.jsonl")
    second.wait("event.end", count=3, outcome="completed")
    assert {r["event_id"] for r in second.records() if r["msg"] == "event.begin"} == {str(each.id) for each in emitted}
    assert second.count("event.expired") == 0
    assert second.stop() == 0
    producer.close_sync()


async def queue_of(herd: Oxherd, name: str = "order.placed") -> BullQueue:
    return (await herd.backend()).queue(herd[name].declaration)


async def test_an_event_whose_worker_died_before_it_began_is_dropped(local_herd: Oxherd, records: Records) -> None:
    @local_herd.event("order.placed", lock=LOCK, expires=0.3)
    async def order_placed(order: int) -> None: ...

    async with local_herd:
        emitted = await order_placed.emit(1)
        # A worker that dies as soon as it has fetched.
        assert (await (await queue_of(local_herd)).fetch("dead:1", 100)).job is not None
        await asyncio.sleep(0.4)
        await local_herd.start()
        await records.wait("event.expired", event_id=emitted.id)
    assert not records.named("event.begin")


@pytest.mark.slow
@pytest.mark.parametrize("stops", [False, True], ids=["goes on", "stops"])
async def test_what_was_fetched_and_waited_for_its_turn_is_dropped_if_that_comes_too_late(
    stops: bool, standalone: str, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    released = asyncio.Event()

    def declare(herd: Oxherd) -> Any:
        @herd.event("order.placed", queue="{orders}", concurrency=1)
        async def order_placed(order: int) -> None:
            await released.wait()

        @herd.event("mail.wanted", queue="{orders}", concurrency=10)
        async def mail_wanted(order: int) -> None: ...

        return order_placed

    herd, again = make_herd(standalone), make_herd(standalone)
    event = declare(herd)
    async with herd:
        await herd.start()
        first = await event.emit(1)
        await records.wait("event.begin", event_id=first.id)
        late = await event.emit_many([2, 3, 4], expires=0.5)
        # They have been fetched: the queue's other event goes past them.
        mail = await herd["mail.wanted"].emit(5)
        await records.wait("event.end", event_id=mail.id)
        await asyncio.sleep(0.6)
        if not stops:
            released.set()
            await records.wait("event.expired", count=3)
    if stops:
        released.set()
        declare(again)
        async with again:
            await again.start()
            await records.wait("event.expired", count=3)
            await records.wait("event.end", event_id=first.id, outcome="completed")
    for each in late:
        assert not records.named("event.begin", event_id=each.id)
        assert len(records.named("event.expired", event_id=each.id)) == 1


@pytest.mark.parametrize(("expires", "runs"), [(0.3, 0), (60, 1)])
async def test_a_begin_whose_answer_is_lost_is_none(
    expires: float, runs: int, server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    """The note of its begin is stored, and taken back: it has not begun, and expires like any other."""
    reading = asyncio.Event()
    async with LossyWay(server.url) as way, make_herd(server.url) as producer, make_herd(way.url) as worker:

        def lose(order: int) -> int:
            if order == 2 and not reading.is_set():
                reading.set()
                way.lose_answers()
            return order

        @worker.event("order.placed", lock=30)
        async def order_placed(order: Annotated[int, AfterValidator(lose)]) -> None: ...

        event = producer.declare("order.placed", int)
        await worker.start()
        await records.wait("event.end", event_id=(await event.emit(1, expires=60)).id)  # the scripts are known
        emitted = await event.emit(2, expires=expires)
        await reading.wait()
        await asyncio.sleep(0.5)
        way.cut()
        name = "event.end" if runs else "event.expired"
        await records.wait(name, event_id=emitted.id)
    assert len(records.named("event.begin", event_id=emitted.id)) == runs


async def test_an_event_begins_once_its_server_has_confirmed_that_it_does(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    frozen = asyncio.Event()

    async with make_herd(server.url) as producer, make_herd(server.url) as worker:

        def freeze(order: int) -> int:
            if order == 2:
                frozen.set()
                server.pause()
            return order

        @worker.event("order.placed", expires=60)
        async def order_placed(order: Annotated[int, AfterValidator(freeze)]) -> None: ...

        event = producer.declare("order.placed", int, expires=60)
        await worker.start()
        await records.wait("event.end", event_id=(await event.emit(1)).id)
        # In a task, since the server may freeze before it has answered.
        emitting = asyncio.create_task(event.emit(2, id=(event_id := uuid4())))
        await frozen.wait()
        await asyncio.sleep(0.3)
        assert not records.named("event.begin", event_id=event_id)
        server.resume()
        emitted = await emitting
        await records.wait("event.end", event_id=emitted.id, outcome="completed", fence=1)


@pytest.mark.slow
async def test_a_stop_does_not_wait_for_a_server_that_says_nothing_of_a_begin(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    async with make_herd(server.url) as producer:
        worker, again = make_herd(server.url), make_herd(server.url)
        frozen = asyncio.Event()

        def freeze(order: int) -> int:
            if order == 2:
                frozen.set()
                server.pause()
            return order

        @worker.event("order.placed", lock=LOCK)
        async def order_placed(order: Annotated[int, AfterValidator(freeze)]) -> None: ...

        event = producer.declare("order.placed", int, expires=60)
        await worker.start()
        await records.wait("event.end", event_id=(await event.emit(1)).id)
        # In a task, since the server may freeze before it has answered.
        emitting = asyncio.create_task(event.emit(2))
        await frozen.wait()
        started = time.monotonic()
        await worker.stop(0.2)
        assert time.monotonic() - started < 5
        await worker.close()
        server.resume()
        emitted = await emitting
        assert not records.named("event.begin", event_id=emitted.id)

        @again.event("order.placed", lock=LOCK)
        async def placed_again(order: int) -> None: ...

        async with again:
            await again.start()
            await records.wait("event.end", event_id=emitted.id, outcome="completed")


@pytest.mark.parametrize(
    ("kind", "number"),
    # In order they are dropped one after the other, each in a round trip of its own.
    [({}, 10_000), ({"shards": 3}, 10_000), ({"queue": "{orders}"}, 10_000), ({"ordered": True}, 1_000)],
    ids=str,
)
async def test_thousands_that_expired_are_dropped_at_once_and_keep_nothing_waiting(
    kind: dict[str, Any], number: int, local_herd: Oxherd, records: Records
) -> None:
    @local_herd.event("order.placed", **kind)
    async def order_placed(order: int) -> None: ...

    async with local_herd:
        await order_placed.emit_many(range(number), expires=0.001)
        live = await order_placed.emit_many(range(100))
        started = time.monotonic()
        await local_herd.start()
        await records.wait("event.end", count=100, outcome="completed", deadline=60)
        await records.wait("event.expired", count=number, deadline=60)
        assert time.monotonic() - started < 30  # a second or two, where nothing else runs
    assert {record.__dict__["event_id"] for record in records.named("event.end")} == {str(each.id) for each in live}


EXPIRED = b'{"ox:expires":1,"attempts":3,"backoff":"odd"}'
ODD = (b'"5"', b"true", b"null", b"[1]", b"{}", b"-5", b"0", b"NaN", b"Infinity", b"1e400", b"-1e400", b"9" * 400)


async def test_what_other_programs_write_of_an_expiry_is_taken_where_it_is_one(
    local_herd: Oxherd, records: Records
) -> None:
    @local_herd.event("order.placed", retry=Retry(attempts=1))
    async def order_placed(order: int) -> None: ...

    async with local_herd:
        queue = await queue_of(local_herd)

        async def put(name: str, **fields: Any) -> None:
            right: dict[str, Any] = {"name": "order.placed", "data": b"1", "opts": b"{}", "timestamp": 1700000000000}
            pairs = [part for pair in (right | fields).items() for part in pair]
            await queue.client.call(queue.keys.slot, "HSET", queue.keys.job(name), *pairs)
            await queue.client.call(queue.keys.slot, "LPUSH", queue.keys.wait, name)

        for number, value in enumerate(ODD):
            await put(f"odd-{number}", opts=b'{"ox:expires":%s}' % value)
        await put("no time", opts=EXPIRED, timestamp=0)
        await put("from the future", opts=EXPIRED, timestamp=32503680000000)
        await put("began", opts=EXPIRED, **{"ox:ran": b"\xff"})
        await put("tried", opts=EXPIRED, atm=1)
        runs = len(ODD) + 4
        for value in (b"1", b"0.5", b"1e3"):
            await put(f"late {value.decode()}", opts=b'{"ox:expires":%s}' % value)
        await local_herd.start()
        await records.wait("event.expired", count=3)
        await records.wait("event.end", count=runs, outcome="completed")
    assert len(records.named("event.begin")) == runs
