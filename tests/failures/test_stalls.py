"""Events that are taken from a worker: by its death, by answers that were lost; and what counts as their stall."""

from __future__ import annotations

import asyncio
import signal
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from oxherd import Oxherd
from oxherd.servers.standalone import StandaloneServer
from tests.harness import Records, WorkerProcess, until, until_sync
from tests.lossy import LossyWay

LOCK = 2.0

APP = f"""
import asyncio, os, signal
from oxherd import Oxherd, Retry

herd = Oxherd(prefix={{prefix!r}})

@herd.event("order.placed", lock={LOCK}, retry=Retry(attempts=1))
async def order_placed(number: int) -> None:
    await asyncio.sleep(0.02)

@herd.event("order.deadly", lock={LOCK * 2}, concurrency=20, retry=Retry(attempts=1))
async def order_deadly(order: dict[str, float]) -> None:
    await asyncio.sleep(order["seconds"])
    if order["kills"]:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def app(tmp_path: Path, prefix: str) -> Path:
    (tmp_path / "app.py").write_text(textwrap.dedent(APP).format(prefix=prefix))
    return tmp_path


@contextmanager
def producer(url: str, prefix: str) -> Generator[Oxherd]:
    """A herd for emits from a test without an event loop: left open, it would go on looking for the server."""
    herd = Oxherd(url, prefix=prefix)
    try:
        yield herd
    finally:
        herd.close_sync()


def begins(*workers: WorkerProcess) -> list[dict[str, Any]]:
    return [record for worker in workers for record in worker.records() if record["msg"] == "event.begin"]


def test_what_a_killed_worker_ran_begins_again_before_what_waits_and_within_twice_the_lock(
    app: Path, prefix: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    with StandaloneServer(unix=True) as server, producer(server.url, prefix) as herd:
        event = herd.declare("order.placed", int, lock=LOCK)
        workers = [start_worker(url=server.url, log=f"{name}.jsonl") for name in ("killed", "left")]
        event.emit_many_sync(range(20_000))
        for worker in workers:
            worker.wait("event.end", count=100)
        workers[0].signal(signal.SIGKILL)
        workers[0].exit()
        killed = time.time()
        ended = {r["event_id"] for r in workers[0].records() if r["msg"] == "event.end"}
        taken = {r["event_id"] for r in begins(workers[0])} - ended
        assert taken, "it ran something"
        # Its outcome may have been written a moment before: that one does not come back.
        until_sync(lambda: len(taken & {r["event_id"] for r in begins(workers[1])}) >= len(taken) - 2)
        again = [datetime.fromisoformat(r["ts"]) for r in begins(workers[1]) if r["event_id"] in taken]
        assert max(again).timestamp() - killed < LOCK * 2
        assert Counter(r["fence"] for r in begins(workers[1]) if r["event_id"] in taken).keys() == {2}
        assert max(r["fence"] for r in begins(workers[1])) == 2


def failed_by(worker: WorkerProcess) -> set[str]:
    """The events that a worker has sent to failed since they stalled too often."""
    return {record["event_id"] for record in worker.records() if "allowable limit" in str(record.get("error"))}


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "innocent"), [(0.0, 0.02), (0.0, 30.0), (0.3, 0.02)])
def test_an_event_that_kills_takes_no_other_to_failed_and_is_failed_itself(
    seconds: float, innocent: float, app: Path, prefix: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    with StandaloneServer(unix=True) as server, producer(server.url, prefix) as herd:
        event = herd.declare("order.deadly", dict[str, float], lock=LOCK * 2)
        others = event.emit_many_sync([{"seconds": innocent, "kills": 0}] * 6)
        deadly = event.emit_sync({"seconds": seconds, "kills": 1})
        others += event.emit_many_sync([{"seconds": innocent, "kills": 0}] * 6)
        deaths = 0
        while True:
            worker = start_worker("--stop-timeout", "0", url=server.url, log=f"worker{deaths}.jsonl")
            until_sync(
                lambda worker=worker: worker.process.poll() is not None or str(deadly.id) in failed_by(worker),
                deadline=30,
            )
            if worker.process.poll() is None:
                break
            deaths += 1
            assert deaths <= 5
        failed = failed_by(worker)
        # On a busy machine it kills a moment late, which costs a fifth death: what all have interrupted goes along.
        takes_others = deaths == 5 and innocent > 1
        assert takes_others or failed == {str(deadly.id)}
        worker.stop()


async def test_events_whose_fetch_lost_its_answer_are_taken_back_at_no_cost_however_long_it_took(
    make_herd: Callable[..., Oxherd], records: Records
) -> None:
    with StandaloneServer() as server:
        async with LossyWay(server.url) as way:
            herd = make_herd(way.url)
            producer = make_herd(server.url).declare("order.placed", int)
            ran: Counter[int] = Counter()

            @herd.event("order.placed", lock=0.6, concurrency=8)
            async def order_placed(number: int) -> None:
                ran[number] += 1
                await asyncio.sleep(0.005)

            async with herd, producer.herd:
                await herd.start()
                await producer.emit_many(range(8))
                await records.wait("event.end", count=8)
                emitting = asyncio.create_task(producer.emit_many(range(8, 400)))
                await records.wait("event.end", count=100)
                way.lose_answers()
                await emitting
                queue = (await producer.herd.backend()).queue(producer.declaration)
                await until(lambda: queue.client.call(queue.keys.slot, "LLEN", queue.keys.active))
                await asyncio.sleep(1.5)  # more than twice the lock
                way.cut()
                await until(lambda: len(ran) == 400)
                await until(lambda: counts_are_zero(queue))
            assert not records.named("queue.error", source="stalled")
            reclaimed = [vars(r)["error"] for r in records.named("queue.error", source="fetch")]
            assert [error["type"] for error in reclaimed] in (["Reclaimed"], []), reclaimed


async def counts_are_zero(queue: Any) -> bool:
    return not any((await queue.counts()).values())
