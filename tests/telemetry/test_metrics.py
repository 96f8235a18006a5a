"""Metrics of a herd in one's own process: what is counted, what Redis is asked for, what never is a label."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from oxherd import Context, Oxherd, Retry
from oxherd.servers.standalone import StandaloneServer
from oxherd.telemetry.metrics.snapshot import Snapshot, added, merged
from oxherd.telemetry.prometheus import Metrics
from tests.harness import Records, until
from tests.telemetry.support import samples, value


class Scrape:
    """What a scrape of a registry of its own gives."""

    def __init__(self, herd: Oxherd) -> None:
        self._registry = CollectorRegistry()
        Metrics(herd, self._registry)

    async def __call__(self) -> str:
        return (await asyncio.to_thread(generate_latest, self._registry)).decode()


async def test_what_expires_is_counted_and_is_neither_begun_nor_ended(local_herd: Oxherd, records: Records) -> None:
    scrape = Scrape(local_herd)

    @local_herd.event("order.placed", expires=0.001)
    async def order_placed(number: int) -> None: ...

    async with local_herd:
        await order_placed.emit_many([1, 2, 3])
        await asyncio.sleep(0.01)
        await local_herd.start()
        await records.wait("event.expired", 3)
        text = await scrape()
    assert value(text, "oxherd_events_expired_total", event="order.placed") == 3
    assert value(text, "oxherd_events_begun_total", event="order.placed") == 0
    assert value(text, "oxherd_events_running", event="order.placed") == 0


async def test_what_happens_to_events_is_counted_by_event_and_outcome(local_herd: Oxherd, records: Records) -> None:
    scrape = Scrape(local_herd)

    @local_herd.event("order.placed", retry=Retry(attempts=2, delay=0))
    async def order_placed(number: int, ctx: Context) -> None:
        if number == 1 and ctx.attempt == 1:
            raise ConnectionError("once")
        if number == 2:
            raise ValueError("always")

    @local_herd.event("mail.sent")
    async def mail_sent(text: str) -> None: ...

    async with local_herd:
        await order_placed.emit(0)
        await order_placed.emit_many([1, 2])
        await asyncio.to_thread(mail_sent.emit_sync, "secret-payload")
        await mail_sent.emit("later", delay=0.3)
        await local_herd.start()
        await records.wait("event.end", 7)
        text = await scrape()
    placed = {"event": "order.placed"}
    assert value(text, "oxherd_events_emitted_total", **placed) == 3
    assert value(text, "oxherd_events_begun_total", **placed) == 5
    ended = {outcome: value(text, "oxherd_events_ended_total", outcome=outcome, **placed) for outcome in
             ("completed", "retrying", "failed", "lost")}  # fmt: skip
    assert ended == {"completed": 2, "retrying": 2, "failed": 1, "lost": 0}
    assert value(text, "oxherd_retries_total", **placed) == 2
    assert value(text, "oxherd_events_running", **placed) == 0
    assert value(text, "oxherd_event_duration_seconds_count", **placed) == 5
    assert value(text, "oxherd_event_lag_seconds_count", **placed) == 3
    assert value(text, "oxherd_events_emitted_total", event="mail.sent") == 2
    # The delay that was asked for is no lag.
    lag = value(text, "oxherd_event_lag_seconds_sum", event="mail.sent")
    late = records.named("event.begin", event="mail.sent")[-1]
    assert lag is not None
    assert lag < 0.3 + (late.created - records.named("worker.start")[0].created - 0.3)
    assert "secret-payload" not in text
    ids = {record.__dict__["event_id"] for record in records.named("event.begin")}
    assert not [each for each in ids if each in text]


async def test_what_waits_is_asked_of_redis_when_it_is_scraped(
    standalone: str, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(standalone)
    scrape = Scrape(herd)
    go = asyncio.Event()

    @herd.event("order.placed", concurrency=1)
    async def order_placed(number: int) -> None:
        await go.wait()

    @herd.event("order.spread", concurrency=1, shards=3)
    async def order_spread(number: int) -> None:
        await go.wait()

    @herd.event("first", concurrency=1, queue="shared")
    async def first(number: int) -> None:
        await go.wait()

    @herd.event("second", concurrency=1, queue="shared")
    async def second(number: int) -> None: ...

    async with herd:
        assert value(await scrape(), "oxherd_up") == 0  # nobody processes yet
        began = time.time()
        for event in (order_placed, order_spread, first):
            await event.emit_many(list(range(6)))
        await order_placed.emit(7, priority=2)
        await order_placed.emit(8, delay=60)
        await herd.start()
        await records.wait("event.begin", 3)
        text = await scrape()
        age = value(text, "oxherd_oldest_waiting_seconds", event="order.placed")
        most = time.time() - began
        assert value(text, "oxherd_up") == 1
        assert value(text, "oxherd_events_waiting", event="order.placed") == 6
        assert value(text, "oxherd_events_delayed", event="order.placed") == 1
        assert age is not None
        assert 0 < age <= most + 0.001
        assert value(text, "oxherd_events_waiting", event="order.spread") == 5
        # Some wait in the worker, and those for which there is no room there are delayed for a second.
        held_up = [value(text, f"oxherd_events_{state}", event="first,second") for state in ("waiting", "delayed")]
        assert sum(number or 0 for number in held_up) in range(3, 6)
        # In the loop's own thread nothing can be asked.
        [up] = [number for name, _, number in samples(_in_the_loop(herd)) if name == "oxherd_up"]
        assert up == 0
        go.set()
        await records.wait("event.end", 19)
        text = await scrape()
    assert value(text, "oxherd_oldest_waiting_seconds", event="order.placed") is None


def _in_the_loop(herd: Oxherd) -> str:
    registry = CollectorRegistry()
    Metrics(herd, registry)
    return generate_latest(registry).decode()


async def test_an_outage_and_a_fault_are_counted_and_a_scrape_does_not_hang(
    make_herd: Callable[..., Oxherd], records: Records
) -> None:
    with StandaloneServer() as server:
        herd = make_herd(server.url, emit_timeout=0.2)
        scrape = Scrape(herd)

        @herd.event("order.placed")
        async def order_placed(number: int) -> None: ...

        node = f"127.0.0.1:{server.port}"
        async with herd:
            await herd.start()
            await until(lambda: herd.health().ready)
            text = await scrape()
            assert value(text, "oxherd_redis_up", node=node) == 1
            for name in ("outages_total", "outage_seconds_total"):  # the first one is a rise only from there
                assert value(text, f"oxherd_redis_{name}", node=node) == 0
            server.pause()  # it takes what is sent, and answers nothing
            began = time.monotonic()
            text = await scrape()
            assert time.monotonic() - began < 3
            assert value(text, "oxherd_up") == 0
            assert value(text, "oxherd_events_waiting") is None
            server.resume()
            server.terminate()
            await records.wait("redis.error")
            text = await scrape()
            assert (value(text, "oxherd_up"), value(text, "oxherd_redis_up", node=node)) == (0, 0)
            server.start()
            await records.wait("redis.recovered")
            await order_placed.emit(1)
            backend = await herd.backend()
            keys = backend.queue(order_placed.declaration).keys
            await backend.client.call(keys.slot, "HSET", keys.job("1"), "name", "nobody", "data", "1", "timestamp", "1")
            await backend.client.call(keys.slot, "LPUSH", keys.wait, "1")
            await backend.client.call(keys.slot, "ZADD", keys.marker, 0, "0")
            await records.wait("queue.error", source="data")
            text = await scrape()
    assert value(text, "oxherd_redis_up", node=node) == 1
    assert value(text, "oxherd_redis_outages_total", node=node) == len(records.named("redis.error"))
    seconds = sum(record.__dict__["outage_ms"] for record in records.named("redis.recovered")) / 1000
    assert value(text, "oxherd_redis_outage_seconds_total", node=node) == pytest.approx(seconds, abs=0.001)  # pyright: ignore[reportUnknownMemberType]
    assert value(text, "oxherd_queue_errors_total", source="data") == 1


def test_the_numbers_of_processes_are_added_and_those_of_redis_are_not() -> None:
    one = Snapshot({"blocks": 1, "events": {"a": {"lags": [1, 2]}}}, {}, {"n": True}, True, {"a": [3, 0, 1.5]})
    two = Snapshot({"blocks": 2, "events": {"b": {"lags": [4, 4]}}}, {}, {"n": False}, True, {"a": [3, 0, 1.5]})
    whole = merged([one, two], {"blocks": 10, "events": {"a": {"lags": [1, 1]}}}, {})
    assert whole.totals == {"blocks": 13, "events": {"a": {"lags": [2, 3]}, "b": {"lags": [4, 4]}}}
    assert (whole.nodes, whole.up, whole.backlogs) == ({"n": False}, True, {"a": [3, 0, 1.5]})
    assert added({}, one.totals) == one.totals


def test_nothing_but_the_metrics_imports_prometheus_client() -> None:
    code = (
        "import sys, oxherd.cli.worker; from oxherd import *; "
        "assert not [m for m in sys.modules if m.startswith('prometheus')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
