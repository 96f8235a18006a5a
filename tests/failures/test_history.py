"""What the history of an event loses, and what it does not, when workers die and servers go away."""

from __future__ import annotations

import asyncio
import signal
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oxherd import Oxherd
from oxherd.admin import HistoryRow, summed
from oxherd.bullmq.history import Counted, add_figures
from oxherd.servers.standalone import StandaloneServer
from oxherd.worker.run_counts import RunCounts
from oxherd.worker.upkeep import history_writer
from tests.harness import Records, WorkerProcess, until
from tests.lossy import LossyWay

APP = """
from oxherd import Oxherd

herd = Oxherd(prefix={prefix!r})

@herd.event("order.placed")
async def order_placed(number: int) -> None: ...
"""


@pytest.fixture
def server() -> Iterator[StandaloneServer]:
    """A server of the test's own, that forgets everything when it ends."""
    with StandaloneServer() as server:
        yield server


async def last_hour(herd: Oxherd) -> HistoryRow:
    return summed(await herd.admin.history("order.placed", since=3600))


async def test_a_killed_worker_loses_what_it_has_counted_in_the_last_five_seconds_and_no_more(
    server: StandaloneServer,
    tmp_path: Path,
    prefix: str,
    start_worker: Callable[..., WorkerProcess],
    make_herd: Callable[..., Oxherd],
) -> None:
    (tmp_path / "app.py").write_text(textwrap.dedent(APP).format(prefix=prefix))
    herd = make_herd(server.url)
    order_placed = herd.declare("order.placed", int)
    worker = start_worker(url=server.url)
    async with herd:
        await order_placed.emit_many(list(range(50)))

        async def written() -> bool:
            return (await last_hour(herd)).completed == 50

        await until(written)
        await order_placed.emit_many(list(range(20)))
        await asyncio.to_thread(worker.wait, "event.end", 70)
        worker.process.send_signal(signal.SIGKILL)
        worker.process.wait()
        row = await last_hour(herd)
        assert row.completed in (50, 70), "unless the five seconds were just over"
        assert row.begun == row.ran.count == row.completed


async def test_what_was_counted_before_an_outage_and_in_it_is_written_after_it(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(server.url)
    begun, end = asyncio.Event(), asyncio.Event()

    @herd.event("order.placed")
    async def order_placed(number: int) -> None:
        if number == 1:
            begun.set()
            await end.wait()

    async with herd:
        await herd.start()
        await order_placed.emit_many([0, 1])
        await records.wait("event.end")
        await begun.wait()
        server.pause()
        end.set()
        # Longer than what is counted is written after.
        await asyncio.sleep(6)
        server.resume()
        await records.wait("event.end", count=2)
        await herd.stop()
        async with herd:
            row = await last_hour(herd)
    assert (row.begun, row.completed) == (2, 2)
    assert not records.named("queue.error")


async def test_a_batch_whose_reply_is_lost_is_counted_once(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_writer, "_WRITE_SECONDS", 0.2)
    sent: list[str] = []

    async with LossyWay(server.url) as way:
        herd, reader = make_herd(way.url), make_herd(server.url)
        reader.declare("order.placed", int)

        @herd.event("order.placed")
        async def order_placed(number: int) -> None: ...

        async def adding(queue: object, worker: str, batch: str, counted: list[Counted]) -> None:
            if not sent:
                way.lose_answers()
            sent.append(batch)
            if len(sent) == 1:
                asyncio.get_running_loop().call_later(0.3, way.cut)
            await add_figures(queue, worker, batch, counted)  # pyright: ignore[reportArgumentType]

        monkeypatch.setattr(history_writer, "add_figures", adding)
        async with herd, reader:
            await herd.start()
            await order_placed.emit_many([1, 2, 3])
            await records.wait("event.end", count=3)
            await until(lambda: len(sent) >= 2 and sent[0] == sent[1])
            await herd.stop()
            row = await last_hour(reader)
    assert (row.begun, row.completed) == (3, 3)


async def test_a_missing_right_or_a_full_server_is_reported_once_and_keeps_nothing_from_ending(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_writer, "_WRITE_SECONDS", 0.1)
    herd = make_herd(server.url)

    @herd.event("order.placed")
    async def order_placed(number: int) -> None: ...

    async with herd:
        queue = (await herd.backend()).queue(order_placed.declaration)
        await herd.start()
        # No hash may be written where the mark of the last batch, a string, is expected to be.
        (worker,) = await until(herd.workers)
        await queue.client.call(queue.keys.slot, "HSET", queue.keys.history_mark(worker.id), "x", 1)
        for number in range(3):
            await order_placed.emit(number)
            await records.wait("event.end", count=number + 1, outcome="completed")
            await asyncio.sleep(0.2)
        (error,) = await records.wait("queue.error", source="history")
        assert "WRONGTYPE" in error.error["message"]
        await queue.client.call(queue.keys.slot, "DEL", queue.keys.history_mark(worker.id))
        await order_placed.emit(4)

        async def written() -> bool:
            return (await last_hour(herd)).completed > 0

        await until(written)
        await herd.stop()
    assert len(records.named("queue.error")) == 1


def test_what_cannot_be_written_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("oxherd.worker.run_counts.monotonic", lambda: now)
    counts = RunCounts()
    for second in range(3 * 3_600):
        now = float(second)
        for _ in range(10):
            counts["order.placed"].began(1)
            counts["order.placed"].ended("completed", second % 1_000)
    rows: list[Counted] = []
    while taken := counts.take(50):
        assert len(taken) <= 50
        rows += taken
    assert len(rows) == 120
    assert [row.age_ms for row in rows] == sorted((row.age_ms for row in rows), reverse=True)
    assert max(row.age_ms for row in rows) <= 3_630_000
    assert not counts.take(50)
