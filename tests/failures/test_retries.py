"""Events that are to be tried again survive the death of their worker at each step, and answers that are lost."""

from __future__ import annotations

import asyncio
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oxherd import Context, Oxherd, Retry, RetryIn, Snooze
from oxherd.servers.standalone import StandaloneServer
from tests.harness import Records, WorkerProcess, until
from tests.lossy import LossyWay

LOCK = 1.0

APP = f"""
import os, signal
from pathlib import Path
from oxherd import Context, Oxherd, Retry, RetryIn, Snooze
from oxherd.signals import EventEnded

herd = Oxherd(prefix={{prefix!r}})
KINDS = {{{{"snooze": Snooze, "retry in": RetryIn, "declared": OSError}}}}

def die_once(name):
    if Path(name).exists():
        Path(name).unlink()
        os.kill(os.getpid(), signal.SIGKILL)

def backoff(attempt, error):
    die_once("before")
    return 0.3

def fail_once(how, ctx):
    if ctx.fence == 1 or Path("before").exists():
        die_once("in handler")
        raise KINDS[how](0.3)

# What is written is followed by this at once.
herd.signals.subscribe(lambda ended: die_once("after"), EventEnded)
retry = Retry(attempts=3, backoff=backoff)

@herd.event("order.placed", lock={LOCK}, retry=retry)
async def order_placed(how: str, ctx: Context) -> None:
    fail_once(how, ctx)

@herd.event("order.listed", lock={LOCK}, retry=retry, ordered=True)
def order_listed(how: str, ctx: Context) -> None:
    fail_once(how, ctx)
"""


@pytest.fixture
def app(tmp_path: Path, prefix: str) -> Path:
    (tmp_path / "app.py").write_text(textwrap.dedent(APP).format(prefix=prefix))
    return tmp_path


@pytest.mark.parametrize("event", ["order.placed", "order.listed"])
@pytest.mark.parametrize(("how", "attempt"), [("snooze", 1), ("retry in", 2), ("declared", 2)])
def test_a_worker_that_dies_right_after_the_write_leaves_the_event_where_it_is_to_be(
    app: Path, standalone: str, prefix: str, start_worker: Callable[..., WorkerProcess], event: str, how: str,
    attempt: int,
) -> None:  # fmt: skip
    (app / "after").touch()
    producer = Oxherd(standalone, prefix=prefix).declare(event, str)
    emitted = producer.emit_sync(how)
    worker = start_worker("--event", event, url=standalone)
    assert worker.exit() == -9
    died = time.time()
    assert worker.count("event.begin", event_id=str(emitted.id)) == 1
    left = start_worker("--event", event, url=standalone, log="left.jsonl")
    left.wait("event.end", event_id=str(emitted.id), outcome="completed")
    (begun,) = [record for record in left.records() if record["msg"] == "event.begin"]
    assert (begun["attempt"], begun["fence"]) == (attempt, 2)
    assert time.time() - died < 10
    assert left.stop() == 0
    producer.herd.close_sync()


@pytest.mark.parametrize("event", ["order.placed", "order.listed"])
@pytest.mark.parametrize(("step", "how"), [("in handler", "snooze"), ("before", "declared")])
def test_a_worker_that_dies_before_the_write_has_its_event_begun_again_at_no_cost(
    app: Path, standalone: str, prefix: str, start_worker: Callable[..., WorkerProcess], event: str, step: str,
    how: str,
) -> None:  # fmt: skip
    (app / step).touch()
    producer = Oxherd(standalone, prefix=prefix).declare(event, str)
    emitted = producer.emit_sync(how)
    assert start_worker("--event", event, url=standalone).exit() == -9
    left = start_worker("--event", event, url=standalone, log="left.jsonl")
    left.wait("event.end", event_id=str(emitted.id), outcome="completed")
    begun = [record for record in left.records() if record["msg"] == "event.begin"]
    assert [(record["attempt"], record["fence"]) for record in begun] == [(1, 2)]
    assert left.stop() == 0
    producer.herd.close_sync()


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize(("error", "ran"), [(Snooze(0.5), [1, 1, 1]), (RetryIn(0.5), [1, 2, 3])])
async def test_a_write_whose_answer_is_lost_counts_once(
    make_herd: Callable[..., Oxherd], records: Records, ordered: bool, error: Snooze | RetryIn, ran: list[int]
) -> None:
    with StandaloneServer() as server:
        async with LossyWay(server.url) as way:
            herd = make_herd(way.url)
            producer = make_herd(server.url).declare("order.placed", int, ordered=ordered)
            attempts: list[int] = []

            @herd.event("order.placed", lock=5, ordered=ordered, retry=Retry(attempts=5, delay=60))
            async def order_placed(number: int, ctx: Context) -> None:
                attempts.append(ctx.attempt)
                if ctx.fence == 1:
                    raise type(error)(0.01)  # the server knows the script from then on
                if ctx.fence == 2:
                    way.lose_answers()
                    raise error

            async with herd, producer.herd:
                queue = (await producer.herd.backend()).queue(producer.declaration)

                async def is_put_back() -> bool:
                    counts = await queue.counts()
                    return counts["active"] == 0 and counts["delayed"] + counts["wait"] == 1

                emitted = await producer.emit(1)
                await herd.start()
                await records.wait("event.begin", event_id=emitted.id, fence=2)
                await until(is_put_back)
                way.cut()
                await records.wait("event.end", outcome="completed", event_id=emitted.id)
            assert attempts == ran
            ended: list[Any] = [vars(record)["outcome"] for record in records.named("event.end")]
            assert ended == ["retrying", "retrying", "completed"]


async def test_an_outage_delays_the_write_and_loses_nothing(make_herd: Callable[..., Oxherd], records: Records) -> None:
    server = StandaloneServer()
    with server:
        async with LossyWay(server.url) as way:
            herd = make_herd(way.url)

            @herd.event("order.placed", lock=0.5, retry=Retry(attempts=1))
            async def order_placed(number: int, ctx: Context) -> None:
                if ctx.fence == 1:
                    way.cut()
                    await asyncio.sleep(0)
                    raise Snooze(0.05)

            async with herd:
                emitted = await order_placed.emit(1)
                await herd.start()
                (end,) = await records.wait("event.end", outcome="completed", event_id=emitted.id)
                assert (end.attempt, end.fence) == (1, 2)
