"""The registry's records, which any program may have written: bounded, and read without trusting them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings, strategies

from oxherd import Oxherd
from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.worker_info import WorkerRecord, merged, parse
from oxherd.bullmq.worker_records import SILENCE_MS, beat, live_workers, remove, worker_info

NOW_MS = 1_800_000_000_000


def record(worker: str, **fields: Any) -> WorkerRecord:
    values: dict[str, Any] = {
        "id": worker,
        "host": "web-1",
        "pid": 7,
        "version": None,
        "events": ["order.placed"],
        "since_ms": NOW_MS,
        "running": [],
        "running_count": 0,
    }
    return WorkerRecord(**values | fields)


@pytest.fixture
async def queue(standalone: str, make_herd: Callable[..., Oxherd]) -> AsyncIterator[BullQueue]:
    async with make_herd(standalone) as herd:
        yield (await herd.backend()).queue(herd.declare("order.placed", int).declaration)


async def call(queue: BullQueue, *command: str | bytes | float) -> Any:
    return await queue.client.call(queue.keys.slot, *command)


async def ids(queue: BullQueue) -> set[str]:
    return {worker.id for worker in await live_workers([queue], timeout=5)}


def test_what_a_worker_writes_is_what_is_read() -> None:
    job = uuid4()
    written = record("w:1", version="1.4.2", events=["b", "a"], running=[("a", str(job), NOW_MS + 5)], running_count=3)
    read = parse(b"w:1", b"%d" % (NOW_MS + 10), written.to_json())
    assert read is not None
    assert (read.id, read.host, read.pid, read.version, read.events) == ("w:1", "web-1", 7, "1.4.2", ("a", "b"))
    assert (read.since, read.last_seen) == tuple(datetime.fromtimestamp((NOW_MS + n) / 1000, UTC) for n in (0, 10))
    (running,) = read.running
    assert (running.event, running.id, read.running_count) == ("a", job, 3)
    assert running.since == datetime.fromtimestamp((NOW_MS + 5) / 1000, UTC)


def test_a_record_names_at_most_a_hundred_of_what_runs_and_counts_all() -> None:
    running = [("a", str(uuid4()), NOW_MS + number) for number in range(500)]
    written = record("w:1", running=running, running_count=500).to_json()
    read = parse(b"w:1", b"%d" % NOW_MS, written)
    assert read is not None
    assert ([str(run.id) for run in read.running], read.running_count) == ([each[1] for each in running[:100]], 500)
    assert len(written) < 16 * 1024


def test_the_records_of_one_worker_become_one() -> None:
    jobs = [str(uuid4()) for _ in range(2)]
    one = record("w:1", since_ms=NOW_MS + 9, running=[("order.placed", jobs[0], NOW_MS + 8)], running_count=1)
    other = record("w:1", events=["mail"], running=[("mail", jobs[1], NOW_MS + 1)], running_count=4)
    older = record("w:0", since_ms=NOW_MS - 1)
    seen = [(one, NOW_MS + 3), (other, NOW_MS + 2), (older, NOW_MS)]
    read = [parse(each.id.encode(), b"%d" % at, each.to_json()) for each, at in seen]
    first, second = merged(info for info in read if info is not None)
    assert (first.id, second.id) == ("w:0", "w:1")
    assert (second.events, second.running_count) == (("mail", "order.placed"), 5)
    assert [str(run.id) for run in second.running] == jobs[::-1]
    assert second.since.timestamp() * 1000 == NOW_MS
    assert second.last_seen.timestamp() * 1000 == NOW_MS + 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "w:2"),
        ("id", None),
        ("host", None),
        ("host", 7),
        ("host", ""),
        ("host", "two\nlines"),
        ("host", "h" * 256),
        ("host", "\ud800"),
        ("pid", "7"),
        ("pid", -1),
        ("pid", True),
        ("pid", 1.5),
        ("pid", 10**400),
        ("version", 3),
        ("version", "v" * 65),
        ("version", "\x1b[31m"),
        ("since", "yesterday"),
        ("since", -1),
        ("since", 10**300),
        ("since", float("nan")),
        ("running_count", None),
        ("running_count", -1),
    ],
)
def test_a_damaged_field_is_no_worker(field: str, value: Any) -> None:
    damaged = json.loads(record("w:1").to_json()) | {field: value}
    assert parse(b"w:1", b"%d" % NOW_MS, json.dumps(damaged).encode()) is None


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"7", b"null", b"\xff", b"[" * 100_000, b'{"id":"w:1"}', b"1" * 9000]
)
def test_what_is_no_record_is_no_worker(text: bytes) -> None:
    assert parse(b"w:1", b"%d" % NOW_MS, text) is None


@pytest.mark.parametrize("seen", [b"inf", b"-inf", b"nan", b"-1", b"1e300", b"soon"])
def test_a_heartbeat_that_is_no_time_is_no_worker(seen: bytes) -> None:
    assert parse(b"w:1", seen, record("w:1").to_json()) is None


JSON = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.floats() | strategies.text(),
    lambda inner: strategies.lists(inner) | strategies.dictionaries(strategies.text(), inner),
    max_leaves=8,
)
FIELDS = ("host", "pid", "version", "events", "since", "running", "running_count")


@settings(deadline=None)
@given(strategies.dictionaries(strategies.sampled_from(FIELDS), JSON), strategies.binary(max_size=30))
def test_whatever_is_written_is_read_without_an_error(fields: dict[str, Any], seen: bytes) -> None:
    written = json.dumps(json.loads(record("w:1").to_json()) | fields).encode()
    for at in (seen, b"%d" % NOW_MS):
        read = parse(b"w:1", at, written)
        assert read is None or (type(read.pid) is int and read.host.isprintable() and len(read.running) <= 100)


def test_a_damaged_part_of_a_list_is_left_out() -> None:
    run = {"event": "a", "id": str(uuid4()), "since": NOW_MS}
    running = [7, None, {}, run | {"event": "a b"}, run | {"id": "x"}, run | {"id": 3}, run | {"since": -1}, run]
    found = json.loads(record("w:1").to_json()) | {"running": running, "events": ["a", "a", 3, "no name", None, ["b"]]}
    read = parse(b"w:1", b"%d" % NOW_MS, json.dumps(found).encode())
    assert read is not None
    assert (read.events, [str(each.id) for each in read.running]) == (("a",), [run["id"]])
    read = parse(b"w:1", b"%d" % NOW_MS, json.dumps(found | {"running": 5, "events": {"a": 1}}).encode())
    assert read is not None
    assert (read.events, read.running) == ((), ())


async def test_a_thousand_workers_are_read_at_once_in_order(queue: BullQueue) -> None:
    running = [("order.placed", str(uuid4()), NOW_MS)] * 20
    await asyncio.gather(
        *(beat(queue, record(f"w:{n}", since_ms=NOW_MS - n, running=running, running_count=20)) for n in range(1000))
    )
    began = time.monotonic()
    found = await live_workers([queue], timeout=5)
    assert time.monotonic() - began < 5
    assert [worker.id for worker in found] == [f"w:{n}" for n in reversed(range(1000))]
    assert {worker.running_count for worker in found} == {20}


async def test_a_worker_is_found_by_its_id_while_it_is_alive(queue: BullQueue) -> None:
    await asyncio.gather(*(beat(queue, record(worker)) for worker in ("w:1", "w:2", "")))
    found = await worker_info(queue, "w:2")
    assert found is not None
    assert found.id == "w:2"
    for unknown in ("w:3", "", "w" * 100_000, "ü"):
        assert await worker_info(queue, unknown) is None
    await remove(queue, "w:2")
    assert await worker_info(queue, "w:2") is None
    assert await ids(queue) == {"w:1"}


async def test_a_silent_worker_is_gone_and_nothing_of_it_is_left(queue: BullQueue) -> None:
    k = queue.keys
    await asyncio.gather(*(beat(queue, record(worker)) for worker in ("w:1", "w:2", "w:3")))
    for key in (k.workers, k.worker("w:1")):
        assert 0 < await call(queue, "PTTL", key) <= SILENCE_MS, "it expires with its last worker"
    server_ms = await queue.server_ms()
    await call(queue, "ZADD", k.workers, server_ms - SILENCE_MS - 1, "w:1", server_ms + SILENCE_MS + 5000, "w:2")
    assert await ids(queue) == {"w:3"}
    assert (await worker_info(queue, "w:1"), await worker_info(queue, "w:2")) == (None, None)
    await beat(queue, record("w:4"))
    assert set(await call(queue, "ZRANGE", k.workers, 0, -1)) == {b"w:3", b"w:4"}


async def test_any_number_of_members_is_cut_to_some_thousand(queue: BullQueue) -> None:
    k = queue.keys
    server_ms = await queue.server_ms()
    for start in range(0, 100_000, 10_000):
        members = [part for n in range(start, start + 10_000) for part in (server_ms - n % 9_000, f"made-up-{n}")]
        await call(queue, "ZADD", k.workers, *members)
    began = time.monotonic()
    assert await live_workers([queue], timeout=5) == []
    await beat(queue, record("w:1"))
    assert await ids(queue) == {"w:1"}
    assert time.monotonic() - began < 1
    assert await call(queue, "ZCARD", k.workers) == 2000


async def test_large_records_and_members_are_not_read(queue: BullQueue) -> None:
    k = queue.keys
    server_ms = await queue.server_ms()
    await beat(queue, record("w:1"))
    for worker in ("large", "w" * 1_000_000):
        await call(queue, "ZADD", k.workers, server_ms, worker)
        await call(queue, "SET", k.worker(worker), b" " * 1_000_000)
    for n in range(400):
        # Together more than one answer may hold.
        await call(queue, "ZADD", k.workers, server_ms - 1000, f"w:2:{n}")
        await call(queue, "SET", k.worker(f"w:2:{n}"), record(f"w:2:{n}").to_json() + b" " * 60_000)
    found = await ids(queue)
    assert {"w:1", "w:2:399"} < found
    assert 200 < len(found) < 300
    assert await worker_info(queue, "large") is None


@pytest.mark.parametrize("kind", ["hash", "list", "text"])
async def test_keys_of_another_kind_hold_no_workers(kind: str, queue: BullQueue) -> None:
    k = queue.keys
    write = {"hash": ("HSET", "a", "b"), "list": ("RPUSH", "a"), "text": ("SET", "a")}[kind]
    await beat(queue, record("w:1"))
    await call(queue, "DEL", k.worker("w:1"))
    await call(queue, write[0], k.worker("w:1"), *write[1:])
    assert await ids(queue) == set()
    await call(queue, "DEL", k.workers)
    await call(queue, write[0], k.workers, *write[1:])
    assert await ids(queue) == set()
    assert await worker_info(queue, "w:1") is None
