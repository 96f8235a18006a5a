"""A blocked event loop is named while it is blocked, with what blocks it; a process that was suspended is not."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from oxherd import Oxherd
from oxherd.redis.connection import SILENCE_SECONDS
from oxherd.telemetry.logs.console_formatter import ConsoleFormatter
from oxherd.telemetry.logs.json_formatter import JSONFormatter
from tests.harness import DEADLINE, Records, WorkerProcess


class Said(logging.Handler):
    """Tells a thread, which may be the blocked loop's own, of a record."""

    def __init__(self, message: str) -> None:
        super().__init__()
        self._message = message
        self.event = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == self._message:
            self.event.set()

    def __enter__(self) -> threading.Event:
        logging.getLogger("oxherd").addHandler(self)
        return self.event

    def __exit__(self, *_: object) -> None:
        logging.getLogger("oxherd").removeHandler(self)


def watching() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "oxherd-blocked"]


async def test_a_handler_that_blocks_the_loop_is_named_while_it_does(local_herd: Oxherd, records: Records) -> None:
    seen: list[bool] = []

    def wait_in_the_loop(said: threading.Event) -> None:
        seen.append(said.wait(DEADLINE))

    with Said("worker.blocked") as said:

        @local_herd.event("order.placed")
        async def order_placed(number: int) -> None:
            wait_in_the_loop(said)

        async with local_herd:
            await local_herd.start()
            emitted = await order_placed.emit(1)
            (unblocked,) = await records.wait("worker.unblocked")
            await records.wait("event.end", outcome="completed")
    assert seen == [True], "it was said while the loop was blocked"
    (blocked,) = records.named("worker.blocked", event="order.placed", event_id=emitted.id, attempt=1)
    assert blocked.levelno == unblocked.levelno == logging.WARNING
    assert 1000 < vars(blocked)["blocked_ms"] <= unblocked.blocked_ms
    own = [frame for frame in vars(blocked)["stack"] if frame.startswith("test_loop_monitor.py:")]
    assert vars(blocked)["stack"][: len(own)] == own, "what called the handler is left out"
    assert [frame.split()[1] for frame in own] == ["order_placed", "wait_in_the_loop"]
    assert "lock_held" not in vars(blocked)
    assert unblocked.event_id == str(emitted.id)
    assert blocked.threadName == "oxherd-blocked"
    assert {record.threadName for record in records.named("event.end")} == {"MainThread"}


async def test_what_blocks_the_loop_outside_of_a_handler_is_named_without_an_event(
    local_herd: Oxherd, records: Records
) -> None:
    @local_herd.event("order.placed")
    async def order_placed(number: int) -> None: ...

    def outside(said: threading.Event) -> None:
        said.wait(DEADLINE)

    with Said("worker.blocked") as said:
        async with local_herd:
            await local_herd.start()
            asyncio.get_running_loop().call_soon(outside, said)
            await records.wait("worker.unblocked")
    (blocked,) = records.named("worker.blocked")
    assert vars(blocked)["stack"][0].split()[1] == "outside"
    assert "event" not in vars(blocked)


async def test_short_blocks_are_nothing_and_two_long_ones_are_two_pairs(local_herd: Oxherd, records: Records) -> None:
    @local_herd.event("order.placed", concurrency=1)
    async def order_placed(seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - it is to block

    async with local_herd:
        await local_herd.start()
        for seconds in (0.4, 0.4, 0.4):
            await order_placed.emit(seconds)
            await asyncio.sleep(0)
        await records.wait("event.end", count=3)
        assert not records.named("worker.blocked")
        for number in range(2):
            await order_placed.emit(1.3)
            await records.wait("worker.unblocked", count=number + 1)
    messages = [record.getMessage() for record in records.all if record.getMessage().startswith("worker.")]
    assert messages == ["worker.start", *["worker.blocked", "worker.unblocked"] * 2, "worker.stop"]
    assert all(vars(record)["blocked_ms"] > 1200 for record in records.named("worker.unblocked"))


async def test_code_that_holds_the_interpreters_lock_is_named_once_it_lets_go(
    local_herd: Oxherd, records: Records
) -> None:
    began = time.process_time()
    sum(range(10_000_000))
    size = int(10_000_000 * 2 / (time.process_time() - began))  # two seconds, and more where others want the processor

    @local_herd.event("order.placed")
    async def order_placed(number: int) -> None:
        sum(range(size))

    async with local_herd:
        await local_herd.start()
        emitted = await order_placed.emit(1)
        (unblocked,) = await records.wait("worker.unblocked", deadline=60, event_id=emitted.id)
    (blocked,) = records.named("worker.blocked", event_id=emitted.id)
    assert vars(blocked)["lock_held"] is True
    assert vars(blocked)["stack"][0].split()[1] == "order_placed"
    assert unblocked.blocked_ms > 1000


APP = """
import threading
from pathlib import Path
from oxherd import Oxherd

herd = Oxherd(prefix={prefix!r})

@herd.event("order.placed")
async def order_placed(number: int) -> None: ...

def look():
    while True:  # at every moment: also right after the suspension, before anything else
        if herd.health().blocked_seconds:
            Path("blocked").touch()

threading.Thread(target=look, daemon=True).start()
"""


def test_a_process_that_was_suspended_was_not_blocked(
    standalone: str, tmp_path: Path, prefix: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    (tmp_path / "app.py").write_text(textwrap.dedent(APP).format(prefix=prefix))
    event = Oxherd(standalone, prefix=prefix).declare("order.placed", int)
    worker = start_worker(url=standalone)
    event.emit_sync(1)
    worker.wait("event.end")
    worker.signal(signal.SIGSTOP)
    time.sleep(3)
    worker.signal(signal.SIGCONT)
    event.emit_sync(2)
    worker.wait("event.end", count=2)
    assert worker.stop() == 0
    assert worker.count("worker.blocked") == worker.count("worker.unblocked") == 0
    assert not (tmp_path / "blocked").exists(), "nor did its health say so"
    event.herd.close_sync()


@pytest.mark.slow
async def test_answers_that_came_while_the_loop_was_blocked_are_read_and_no_outage(
    local_herd: Oxherd, records: Records
) -> None:
    @local_herd.event("order.placed", concurrency=2)
    async def order_placed(number: int) -> None: ...

    async with local_herd:
        await local_herd.start()
        first = await order_placed.emit(1)
        await records.wait("event.end", event_id=first.id)
        emitting = asyncio.create_task(order_placed.emit(2))
        for _ in range(3):
            await asyncio.sleep(0)  # it is on its way; the worker waits on its other connection
        # Longer than either connection may be silent.
        time.sleep(SILENCE_SECONDS + 1)  # noqa: ASYNC251 - it is to block
        second = await emitting
        await records.wait("event.end", event_id=second.id, outcome="completed")
    assert not records.named("redis.error")


async def test_the_watching_thread_comes_with_the_first_event_and_goes_with_the_last(local_herd: Oxherd) -> None:
    @local_herd.event("order.placed")
    async def order_placed(number: int) -> None: ...

    @local_herd.event("order.shipped")
    async def order_shipped(number: int) -> None: ...

    async with local_herd:
        assert not watching()
        await order_placed.start()
        await order_shipped.start()
        assert len(watching()) == 1
        await order_placed.stop()
        assert len(watching()) == 1
        await order_shipped.stop()
        assert not watching()


async def test_both_formats_show_how_long_and_where(local_herd: Oxherd, records: Records) -> None:
    @local_herd.event("order.placed")
    async def order_placed(number: int) -> None:
        time.sleep(1.3)  # noqa: ASYNC251 - it is to block

    async with local_herd:
        await local_herd.start()
        emitted = await order_placed.emit(1)
        (unblocked,) = await records.wait("worker.unblocked")
    (blocked,) = records.named("worker.blocked")
    first, place = ConsoleFormatter(colour=False).format(blocked).split("\n")
    assert f"#1  {str(emitted.id)[-12:]}  worker.blocked  for 1." in first
    assert place.strip().startswith("at test_loop_monitor.py:")
    assert re.search(r"worker\.unblocked  for [1-9]\d*\.\d s$", ConsoleFormatter(colour=False).format(unblocked))
    line = JSONFormatter().format(blocked)
    assert f'"event":"order.placed","event_id":"{emitted.id}","attempt":1,"stack":["test_loop_monitor.py:' in line
