"""Health: what makes a worker live and ready, and what it says while its loop, its fetching or its server hangs."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from oxherd import Health, Oxherd
from oxherd.servers.standalone import StandaloneServer
from oxherd.worker.health import Facts, GroupFacts, judge
from oxherd.worker.upkeep.watchdog import WatchdogTimes
from tests.harness import Records, until


def facts(
    *,
    reached: bool = True,
    stuck_seconds: float | None = None,
    hanging: bool = False,
    paused: bool = False,
    **others: Any,
) -> Facts:
    return Facts(groups=[GroupFacts(["order.placed"], reached, stuck_seconds, hanging, paused)], **others)


@pytest.mark.parametrize(
    ("known", "live", "ready", "reason"),
    [
        (facts(), True, True, ""),
        (Facts(), True, False, "No event is processed; start the herd."),
        (facts(reached=False), True, False, "Redis has not answered yet."),
        (facts(reached=False, outages=["a:1"]), True, False, "Redis at a:1 does not serve us; see redis.error"),
        (facts(stopping=True), True, False, "The worker is stopping."),
        (facts(blocked_seconds=9.9), True, True, "The event loop has been blocked for 9.9 s; see worker.blocked"),
        (facts(blocked_seconds=10.1), False, False, "The event loop has been blocked for 10.1 s; see worker.blocked"),
        (facts(stuck_seconds=29.0), True, True, "order.placed: the fetching was restarted 29 s ago, and"),
        (facts(stuck_seconds=31.0), False, False, "order.placed: the fetching was restarted 31 s ago, and"),
        (facts(paused=True), True, True, "order.placed: paused; it begins again once it is resumed."),
        (facts(hanging=True), True, True, "order.placed: events wait, and handlers that hang hold every slot; give"),
    ],
)
def test_what_each_fact_makes_of_the_health(known: Facts, live: bool, ready: bool, reason: str) -> None:
    health = judge(known)
    assert (health.live, health.ready) == (live, ready)
    assert len(health.reasons) == bool(reason)
    assert all(said.startswith(reason) and said.endswith(".") for said in health.reasons)
    assert health.stuck == (["order.placed"] if "order.placed" in reason and not health.paused else [])
    assert health.paused == (["order.placed"] if "paused" in reason else [])
    with pytest.raises(FrozenInstanceError):
        health.live = not live  # pyright: ignore[reportAttributeAccessIssue]


async def test_a_worker_is_ready_from_redis_first_answer_to_its_stop_but_for_outages(
    make_herd: Callable[..., Oxherd], records: Records
) -> None:
    let_go = asyncio.Event()
    with StandaloneServer() as server:
        herd = make_herd(server.url)
        seen: list[Health] = []

        @herd.event("order.placed")
        async def order_placed(number: int) -> None:
            await let_go.wait()

        server.pause()  # it takes connections, and does not answer
        assert not herd.health().ready
        await herd.start()
        await asyncio.sleep(0.2)
        health = herd.health()
        assert (health.live, health.ready, health.events) == (True, False, ["order.placed"])
        server.resume()
        await until(lambda: herd.health().ready)
        assert herd.health().reasons == []

        server.terminate()
        await records.wait("redis.error")
        health = herd.health()
        assert (health.live, health.ready, health.outages) == (True, False, [f"127.0.0.1:{server.port}"])
        server.start()
        await records.wait("redis.recovered")
        await until(lambda: herd.health().ready)

        await order_placed.emit(1)
        await records.wait("event.begin")
        stopping = asyncio.create_task(herd.stop())
        await until(lambda: herd.health().stopping)
        seen.append(herd.health())
        let_go.set()
        await stopping
    assert (seen[0].live, seen[0].ready, seen[0].stopping, seen[0].events) == (True, False, True, ["order.placed"])
    health = herd.health()
    assert (health.live, health.ready, health.stopping, health.events) == (True, False, False, [])


class Clogged(logging.Handler):
    """A log that takes nothing more once the loop is blocked, until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == "worker.blocked":
            self.let_go.wait()


@pytest.mark.slow
async def test_a_loop_that_is_blocked_for_long_is_not_live_also_where_its_log_is_blocked_as_well(
    local_herd: Oxherd, records: Records
) -> None:
    seen: list[Health] = []
    clogged = Clogged()
    acknowledged = asyncio.Event()
    logging.getLogger("oxherd").addHandler(clogged)

    def look() -> None:
        began = time.monotonic()
        while not seen or (seen[-1].live and time.monotonic() - began < 20):
            seen.append(local_herd.health())
            time.sleep(0.05)
        clogged.let_go.set()

    @local_herd.event("order.placed")
    async def order_placed(number: int) -> None:
        await acknowledged.wait()  # the loop is blocked for as long as an emit waits
        looking = threading.Thread(target=look)
        looking.start()
        looking.join()

    try:
        async with local_herd:
            await local_herd.start()
            await until(lambda: local_herd.health().ready)
            await order_placed.emit(1)
            acknowledged.set()
            await records.wait("event.end", deadline=30)
            await until(lambda: local_herd.health().live)
            assert local_herd.health().reasons == []
    finally:
        clogged.let_go.set()
        logging.getLogger("oxherd").removeHandler(clogged)
    assert seen[0].blocked_seconds == 0.0
    assert not seen[-1].live
    assert not seen[-1].ready
    assert 10 < seen[-1].blocked_seconds < 12
    assert [reason for health in seen if 1.5 < health.blocked_seconds < 9 for reason in health.reasons if health.live]


async def test_a_worker_whose_fetching_does_not_come_back_is_stuck_until_it_does(
    local_herd: Oxherd, records: Records
) -> None:
    local_herd._watchdog_times = WatchdogTimes(look=0.5, stuck=2)  # pyright: ignore[reportPrivateUsage]

    @local_herd.event("order.placed", concurrency=2)
    async def order_placed(number: int) -> None: ...

    async with local_herd:
        await local_herd.start()
        await until(lambda: local_herd.health().ready)
        # As if a fault of ours had lost all slots for good.
        session = await local_herd._sessions.open()  # pyright: ignore[reportPrivateUsage]
        group = session.worker._groups["{order.placed}"]  # pyright: ignore[reportPrivateUsage]
        lost = group._slots.queue_slots()  # pyright: ignore[reportPrivateUsage]
        lost.acquire_over_limit(2)
        await order_placed.emit_many([1, 2])  # the wait that is going on brings the first
        await records.wait("queue.error", source="fetch")
        health = local_herd.health()
        assert (health.live, health.ready, health.stuck) == (True, True, ["order.placed"])
        # The time since then goes on, over further restarts; that it makes the worker dead at 30 s is tested above.
        await until(lambda: (group.facts.stuck_seconds or 0) > 5, deadline=10)
        assert re.match(r"order.placed: the fetching was restarted [5-9] s ago", local_herd.health().reasons[0])
        lost.release(2)
        await records.wait("event.end", count=2, outcome="completed")
        await until(lambda: local_herd.health() == judge(facts()))
    assert len(records.named("queue.error")) == 1
