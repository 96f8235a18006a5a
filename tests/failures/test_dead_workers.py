"""Workers that die: their events run again elsewhere, in time, and what kills its worker ends in failed."""

from __future__ import annotations

import asyncio
import signal
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oxherd import Context, Every, LockLost, Oxherd, OxherdError
from oxherd.producer.backend import Backend
from oxherd.servers.standalone import StandaloneServer
from oxherd.telemetry.logs.reader import read_records
from tests.harness import Records, WorkerProcess, until, until_sync

LOCK = 1.5

APP = f"""
import asyncio, os, signal, time
from pathlib import Path
from pydantic import BaseModel
from oxherd import Context, Every, Oxherd, Retry

herd = Oxherd(prefix={{prefix!r}})

class Order(BaseModel):
    order_id: int = 0

@herd.event("order.slow", lock={LOCK}, concurrency=20)
async def order_slow(order: Order) -> None:
    if Path("slow").exists():
        await asyncio.sleep(60)

@herd.event("order.deadly", lock={LOCK}, retry=Retry(attempts=1))
async def order_deadly(order: Order) -> None:
    os.kill(os.getpid(), signal.SIGKILL)

@herd.event("order.mixed", lock={LOCK * 2}, concurrency=20, retry=Retry(attempts=1))
async def order_mixed(order: Order) -> None:
    began_slow = Path("slow").exists()
    if order.order_id == 4:
        while Path("slow").exists():
            await asyncio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.sleep(60 if began_slow else 0.02)

@herd.event("order.blocking", lock={LOCK})
async def order_blocking(order: Order) -> None:
    if Path("slow").exists():
        Path("slow").unlink()
        time.sleep({LOCK} * 2)

@herd.event("order.thread")
def order_thread(order: Order, ctx: Context) -> None:
    while Path("slow").exists():
        time.sleep(0.01)
"""


@pytest.fixture
def server() -> Iterator[StandaloneServer]:
    with StandaloneServer(unix=True) as server:
        yield server


@pytest.fixture
def app(tmp_path: Path, prefix: str) -> Path:
    (tmp_path / "app.py").write_text(textwrap.dedent(APP).format(prefix=prefix))
    return tmp_path


def declare(url: str, prefix: str) -> Oxherd:
    herd = Oxherd(url, prefix=prefix)
    for name in ("order.slow", "order.deadly", "order.mixed", "order.blocking", "order.thread"):
        herd.declare(name, dict[str, int], lock=LOCK)
    return herd


def test_events_of_a_killed_worker_are_begun_again_within_twice_the_lock(
    server: StandaloneServer, app: Path, prefix: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    herd = declare(server.url, prefix)
    (app / "slow").touch()
    first = start_worker(url=server.url, log="first.jsonl")
    second_ready = start_worker("--event", "order.thread", url=server.url, log="idle.jsonl")
    second_ready.wait("worker.start")
    emitted = herd["order.slow"].emit_many_sync([{"order_id": i} for i in range(20)])
    first.wait("event.begin", count=20)
    second = start_worker(url=server.url, log="second.jsonl")
    second.wait("worker.start")
    (app / "slow").unlink()
    first.signal(signal.SIGKILL)
    killed = time.monotonic()
    second.wait("event.begin", count=20, deadline=LOCK * 4)
    took = time.monotonic() - killed
    assert took < LOCK * 2, took
    second.wait("event.end", count=20, outcome="completed")
    begun = {record["event_id"]: record for record in second.records() if record["msg"] == "event.begin"}
    assert set(begun) == {str(each.id) for each in emitted}
    assert {r["attempt"] for r in begun.values()} == {1}
    assert min(r["fence"] for r in begun.values()) == 2  # more where it was not its turn at once
    assert second.count("queue.error", source="stalled") + second_ready.count("queue.error", source="stalled") == 20
    assert second.stop() == 0
    herd.close_sync()


async def test_a_run_whose_worker_was_killed_is_told_as_lost(
    server: StandaloneServer, app: Path, prefix: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    herd = declare(server.url, prefix)
    (app / "slow").touch()
    first = start_worker(url=server.url, log="first.jsonl")
    async with herd:
        emitted = await herd["order.slow"].emit({"order_id": 1})
        await asyncio.to_thread(first.wait, "event.begin")
        (killed,) = await herd.workers()
        first.signal(signal.SIGKILL)
        second = start_worker(url=server.url, log="second.jsonl")
        await asyncio.to_thread(second.wait, "event.begin", deadline=LOCK * 6)
        story = await herd.admin.show(emitted.id)
    assert story is not None
    lost, *_, running = story.attempts
    assert (lost.number, lost.fence, lost.outcome, lost.worker) == (1, 1, "lost", killed.id)
    assert lost.began_at is not None
    assert (lost.ended_at, lost.seconds, lost.error) == (None, None, None)
    assert (running.number, running.outcome) == (1, None)
    assert running.worker not in (None, killed.id)
    assert any("lost run" in each for each in story.not_known)


@pytest.mark.parametrize("ticking", [False, True])
def test_an_event_that_kills_its_worker_each_time_ends_in_failed(
    ticking: bool, server: StandaloneServer, app: Path, prefix: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    herd = declare(server.url, prefix)
    event = herd["order.deadly"]
    if ticking:
        # One tick, then none for long.
        herd.run_sync(event.schedule("deadly", Every(1), {"order_id": 1}))
    else:
        event.emit_sync({"order_id": 1})
    for death in range(2):
        worker = start_worker(url=server.url, log=f"worker{death}.jsonl")
        assert worker.exit(30) == -signal.SIGKILL
        if ticking and death == 0:
            # The chain goes on although its tick died; one deadly event is enough here.
            herd.run_sync(event.unschedule("deadly"))
    last = start_worker(url=server.url, log="last.jsonl")
    last.wait("queue.error", source="stalled", deadline=30)
    until_sync(
        lambda: any("allowable limit" in r["error"]["message"] for r in last.records() if r["msg"] == "queue.error")
    )
    assert last.count("event.begin", event="order.deadly") == 0
    assert last.stop() == 0
    begins = [
        r for log in ("worker0.jsonl", "worker1.jsonl") for r in read_records(app / log) if r["msg"] == "event.begin"
    ]
    assert Counter(r["fence"] for r in begins) == {1: 1, 2: 1}
    assert len({r["event_id"] for r in begins}) == 1
    story = herd.admin.show_sync(begins[0]["event_id"])
    assert story is not None
    assert [(run.fence, run.outcome) for run in story.attempts] == [(1, "lost"), (2, "lost"), (3, "failed")]
    assert len({run.worker for run in story.attempts}) == 3
    assert story.attempts[-1].error is not None
    assert story.attempts[-1].error.type == "Stalled"
    herd.close_sync()


def test_an_event_that_kills_its_workers_takes_none_of_those_that_ran_beside_it_to_failed(
    server: StandaloneServer, app: Path, prefix: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    herd = declare(server.url, prefix)
    (app / "slow").touch()
    emitted = herd["order.mixed"].emit_many_sync([{"order_id": i} for i in range(9)])
    first = start_worker(url=server.url, log="worker0.jsonl")
    first.wait("event.begin", count=9)
    (app / "slow").unlink()
    assert first.exit(30) == -signal.SIGKILL
    second = start_worker(url=server.url, log="worker1.jsonl")
    assert second.exit(30) == -signal.SIGKILL
    last = start_worker(url=server.url, log="worker2.jsonl")
    last.wait("queue.error", source="stalled", event_id=str(emitted[4].id), deadline=30)

    def completed() -> set[str]:
        ends = [*read_records(app / "worker1.jsonl"), *last.records()]
        return {r["event_id"] for r in ends if r["msg"] == "event.end" and r["outcome"] == "completed"}

    until_sync(lambda: len(completed()) == 8)
    assert completed() == {str(each.id) for each in emitted} - {str(emitted[4].id)}
    until_sync(lambda: any("allowable limit" in r["error"]["message"] for r in last.records() if "error" in r))
    assert last.stop() == 0
    herd.close_sync()


async def test_a_suspect_that_runs_for_long_does_not_hold_up_what_is_none(local_herd: Oxherd, records: Records) -> None:
    let_go = asyncio.Event()

    @local_herd.event("order.placed", concurrency=4)
    async def order_placed(number: int) -> None:
        if number < 0:
            await let_go.wait()

    async with local_herd:
        slow = await order_placed.emit(-1)
        backend = await local_herd.backend()
        queue = backend.queue(order_placed.declaration)
        await queue.client.call(queue.keys.slot, "HSET", queue.keys.job(str(slow.id)), "stc", 1)
        await local_herd.start()
        await records.wait("event.begin", event_id=slow.id)
        # With a lock of 30 s its first moments are half a second.
        await order_placed.emit_many(list(range(400)))
        await records.wait("event.end", count=400, deadline=3)
        let_go.set()
        await records.wait("event.end", event_id=slow.id, outcome="completed")


def test_a_schedules_tick_survives_the_worker_that_began_it(
    server: StandaloneServer, app: Path, prefix: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    herd = declare(server.url, prefix)
    (app / "slow").touch()
    herd.run_sync(herd["order.slow"].schedule("ticks", Every(1), {"order_id": 1}))
    first = start_worker(url=server.url, log="first.jsonl")
    first.wait("event.begin", count=2)
    first.signal(signal.SIGKILL)
    first.exit()
    (app / "slow").unlink()
    second = start_worker(url=server.url, log="second.jsonl")
    begun = {r["event_id"] for r in first.records() if r["msg"] == "event.begin"}

    def run_again() -> bool:
        done = {r["event_id"] for r in second.records() if r["msg"] == "event.end" and r["outcome"] == "completed"}
        return begun <= done and len(done) > len(begun)

    until_sync(run_again)
    herd.run_sync(herd["order.slow"].unschedule("ticks"))
    assert second.stop() == 0
    herd.close_sync()


def test_a_handler_that_blocks_the_loop_beyond_its_lock_is_not_run_twice_by_its_own_worker(
    server: StandaloneServer, app: Path, prefix: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    herd = declare(server.url, prefix)
    (app / "slow").touch()
    worker = start_worker(url=server.url)
    worker.wait("worker.start")
    herd["order.blocking"].emit_sync({"order_id": 1})
    worker.wait("event.end", outcome="completed", deadline=30)
    assert worker.stop() == 0
    assert worker.count("event.begin") == worker.count("event.end") == 1
    herd.close_sync()


def test_a_thread_that_does_not_end_is_put_back_and_the_process_ends_at_once(
    server: StandaloneServer, app: Path, prefix: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    herd = declare(server.url, prefix)
    (app / "slow").touch()
    emitted = herd["order.thread"].emit_sync({"order_id": 1})
    worker = start_worker("--stop-timeout", "0.2", url=server.url, log="first.jsonl")
    worker.wait("event.begin")
    begun = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - begun < 5
    assert worker.count("event.end", event_id=str(emitted.id), outcome="requeued") == 1
    (app / "slow").unlink()
    second = start_worker(url=server.url, log="second.jsonl")
    second.wait("event.end", event_id=str(emitted.id), outcome="completed", deadline=5)
    assert next(r for r in second.records() if r["msg"] == "event.begin")["attempt"] == 1
    assert second.stop() == 0
    herd.close_sync()


async def test_progress_of_an_event_that_was_given_away_is_not_stored(
    standalone: str, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(standalone)
    given_away = asyncio.Event()
    reasons: list[object] = []

    @herd.event("order.placed", lock=30)
    async def order_placed(order: dict[str, int], ctx: Context) -> None:
        await ctx.progress(1)
        await given_away.wait()
        with pytest.raises(OxherdError, match="another worker"):
            await ctx.progress(2)
        reasons.append(ctx.cancelled)

    async with herd:
        emitted = await order_placed.emit({"order_id": 1})
        await herd.start()
        backend = await herd.backend()
        keys = backend.queue(order_placed.declaration).keys
        job = keys.job(str(emitted.id))
        await until(lambda: stored(backend, keys.slot, job))
        # Its lock has run out, and another worker has begun it.
        await backend.client.call(keys.slot, "HINCRBY", job, "ats", 1)
        await backend.client.call(keys.slot, "DEL", job + ":lock")
        given_away.set()
        await records.wait("event.end", event_id=emitted.id, outcome="lost")
        assert await backend.client.call(keys.slot, "HGET", job, "progress") == b"1"
    assert reasons == [LockLost()]


async def stored(backend: Backend, slot: int, job: str) -> bool:
    return bool(await backend.client.call(slot, "HEXISTS", job, "progress"))


async def test_a_worker_whose_event_was_given_away_learns_it_and_writes_nothing_more(
    standalone: str, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(standalone)
    reasons: list[object] = []

    @herd.event("order.placed", lock=0.6)
    async def order_placed(order: dict[str, int], ctx: Context) -> None:
        try:
            await asyncio.sleep(30)
        finally:
            reasons.append(ctx.cancelled)

    async with herd:
        emitted = await order_placed.emit({"order_id": 1})
        await herd.start()
        await records.wait("event.begin")
        backend = await herd.backend()
        keys = backend.queue(order_placed.declaration).keys
        # What another worker's begin does, as far as the first can see it.
        await backend.client.call(keys.slot, "HINCRBY", keys.job(str(emitted.id)), "ats", 1)
        await backend.client.call(keys.slot, "SET", keys.job(str(emitted.id)) + ":lock", "another", "PX", 60_000)
        await records.wait("event.end", event_id=emitted.id, outcome="lost")
        assert reasons == [LockLost()]
        assert await backend.client.call(keys.slot, "LLEN", keys.active) == 1
