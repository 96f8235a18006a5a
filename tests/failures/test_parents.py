"""Jobs whose parent cannot be notified, and parents that cannot end before their children."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from pydantic import BaseModel

from oxherd import Context, Discard, Event, Keep, Oxherd, Retry
from oxherd.bullmq.job import event_id_text
from oxherd.bullmq.queue import BullQueue
from oxherd.redis.client import Argument, Client, key_slot
from oxherd.servers.local_cluster import LocalCluster
from tests.harness import Records, until

EVENT = "child"
POLICIES = ("fpof", "cpof", "idof", "rdof")


class Order(BaseModel):
    order_id: int = 0


async def put(queue: BullQueue, job_id: str, *, place: str = "wait", **fields: Argument) -> None:
    """Add a job as another program does."""
    keys, call = queue.keys, queue.client.call
    right: dict[str, Argument] = {"name": EVENT, "data": "{}", "opts": "{}", "timestamp": 1700000000000}
    pairs = [part for pair in (right | fields).items() for part in pair]
    await call(keys.slot, "HSET", keys.job(job_id), *pairs)
    await call(keys.slot, "LPUSH", keys.base + place, job_id)


class Parent:
    """A parent that waits for its children, in its own queue."""

    def __init__(self, client: Client, prefix: str, queue: str) -> None:
        self.client = client
        self.queue_key = f"{prefix}:{queue}"
        self.key = f"{self.queue_key}:parent"
        self.slot = key_slot(self.key)

    async def store(self, *children: str, **fields: Argument) -> None:
        stored: dict[str, Argument] = {"name": "parent", "data": "{}", "opts": "{}", "timestamp": 1} | fields
        await self.client.call(self.slot, "HSET", self.key, *(part for pair in stored.items() for part in pair))
        await self.client.call(self.slot, "SADD", self.key + ":dependencies", *children)
        await self.client.call(self.slot, "ZADD", self.queue_key + ":waiting-children", 1, "parent")

    def of_child(self, policy: str = "") -> dict[str, Any]:
        """The fields that BullMQ writes into its child's hash."""
        parent = {"id": "parent", "queueKey": self.queue_key, **({policy: True} if policy else {})}
        return {"parentKey": self.key, "parent": json.dumps(parent)}

    async def waits(self) -> bool:
        """Whether it still waits for its children."""
        found = await self.client.call(self.slot, "ZSCORE", self.queue_key + ":waiting-children", "parent")
        return found is not None

    async def in_wait(self) -> bool:
        return await self.client.call(self.slot, "LRANGE", self.queue_key + ":wait", 0, -1) == [b"parent"]


async def parent_in_another_slot(client: Client, prefix: str, slot: int, *, same_node: bool) -> Parent:
    """A parent in another slot, on the same node or another."""
    own = await client.topology.node(slot)
    for number in range(1000):
        parent = Parent(client, prefix, f"{{parent-{number}}}")
        node = await client.topology.node(parent.slot)
        if parent.slot != slot and (node is own) == same_node:
            return parent
    raise AssertionError("no such slot")


Fields = dict[str, Any]
# How a child ends: its unusual fields, the outcome that is logged (None: it is not begun), and where it is then.
ENDS: dict[str, tuple[Fields, str | None, str | None]] = {
    "completed": ({}, "completed", None),
    "completed and kept": ({"opts": '{"removeOnComplete":false}'}, "completed", "completed"),
    "failed": ({"data": '{"order_id":1}'}, "failed", "failed"),
    "failed and removed": ({"data": '{"order_id":1}', "opts": '{"removeOnFail":true}'}, "failed", None),
    "discarded": ({"data": '{"order_id":2}'}, "discarded", "failed"),
    "refused": ({"data": '{"order_id":"x"}'}, None, "failed"),
    "stalled too often": ({"stc": 9}, None, "failed"),
    "let fail by its own child": ({"defa": "child bull:{x}:1 failed"}, None, "failed"),
    "quarantined": ({"atm": "x"}, None, "failed"),
}


def handler(herd: Oxherd) -> Event[Order, None]:
    """A child whose end depends on its payload."""

    @herd.event(EVENT, retry=Retry(attempts=2, delay=0), concurrency=4)
    async def child(order: Order) -> None:
        if order.order_id == 1:
            raise ValueError("declined")
        if order.order_id == 2:
            raise Discard("declined")

    return child


async def empty(queue: BullQueue) -> bool:
    counts = await queue.counts()
    return not counts["wait"] + counts["active"] + counts["delayed"]


async def check_ends(queue: BullQueue, cases: dict[str, str], records: Records) -> None:
    """Each job has ended as its case says."""
    call, keys = queue.client.call, queue.keys
    for name, end in cases.items():
        _, outcome, place = ENDS[end]
        assert await call(keys.slot, "EXISTS", keys.job(name)) == int(place is not None), name
        if place is not None:
            assert await call(keys.slot, "ZSCORE", keys.base + place, name) is not None, name
        ends = records.named("event.end", event_id=event_id_text(keys.queue, name))
        outcomes = [vars(record)["outcome"] for record in ends]
        assert [each for each in outcomes if each != "retrying"] == ([outcome] if outcome else []), name


def not_notified(records: Records) -> list[str]:
    """The ids of the events that were reported because their parents could not be notified."""
    faults = [vars(record) for record in records.named("queue.error", source="finish")]
    return sorted(fault["event_id"] for fault in faults if fault["error"]["type"].startswith("Parent"))


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("same_node", [True, False], ids=["another slot", "another node"])
async def test_a_child_of_a_parent_in_another_slot_ends_and_reports_once_that_its_parent_is_not_notified(
    batched: bool,
    same_node: bool,
    cluster: LocalCluster,
    make_herd: Callable[..., Oxherd],
    prefix: str,
    records: Records,
) -> None:
    herd = make_herd(cluster.url, batched=batched)
    child = handler(herd)
    async with herd:
        queue = (await herd.backend()).queue(child.declaration)
        parent = await parent_in_another_slot(queue.client, prefix, queue.keys.slot, same_node=same_node)
        await parent.store("x")
        cases = {f"{end} {policy}": end for end in ENDS for policy in ("", *POLICIES)}
        for name, end in cases.items():
            await put(queue, name, **parent.of_child(name.rpartition(" ")[2]), **ENDS[end][0])
            await put(queue, f"good after {name}")
        await herd.start()
        await until(lambda: empty(queue))
        await records.wait("event.end", count=len(cases), outcome="completed")
        await check_ends(queue, cases, records)
        assert await parent.waits()
    assert not_notified(records) == sorted(event_id_text(queue.keys.queue, name) for name in cases)


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("server", ["standalone", "cluster"])
@pytest.mark.parametrize("end", ENDS)
async def test_a_parent_that_can_be_notified_is_notified(
    end: str, server: str, batched: bool, request: pytest.FixtureRequest, make_herd: Callable[..., Oxherd],
    prefix: str, records: Records,
) -> None:  # fmt: skip
    found: str | LocalCluster = request.getfixturevalue(server)
    herd = make_herd(found if isinstance(found, str) else found.url, batched=batched)
    child = handler(herd)
    async with herd:
        queue = (await herd.backend()).queue(child.declaration)
        # On one server any queue can be notified, on a cluster only one in the same slot.
        names = [f"{{parent-{n}}}" if server == "standalone" else f"{{{EVENT}}}-{n}" for n in range(len(POLICIES) + 1)]
        parents = {
            policy: Parent(queue.client, prefix, name) for name, policy in zip(names, ("", *POLICIES), strict=True)
        }
        for policy, parent in parents.items():
            await parent.store(queue.keys.job(f"child {policy}"))
            await put(queue, f"child {policy}", **parent.of_child(policy), **ENDS[end][0])
        await herd.start()
        await until(lambda: empty(queue))
        completes = ENDS[end][1] == "completed"
        notified = ("", *POLICIES) if completes else POLICIES
        removed = not completes and ENDS[end][2] is None
        for policy, parent in parents.items():
            # A failed child without a policy keeps its parent waiting, unless it is removed.
            assert await parent.in_wait() == (policy in notified or removed), policy
        await check_ends(queue, {f"child {policy}": end for policy in parents}, records)
    assert not_notified(records) == []


DAMAGED_PARENTS: dict[str, Callable[[Parent], tuple[Argument, ...]]] = {
    "priority": lambda parent: ("HSET", parent.key, "priority", "nan"),
    "hash": lambda parent: ("SET", parent.key, "x"),
    "dependencies": lambda parent: ("SET", parent.key + ":dependencies", "x"),
    "processed": lambda parent: ("SET", parent.key + ":processed", "x"),
    "failed children": lambda parent: ("SET", parent.key + ":failed", "x"),
    "unsuccessful": lambda parent: ("SET", parent.key + ":unsuccessful", "x"),
    "wait": lambda parent: ("SET", parent.queue_key + ":wait", "x"),
    "waiting-children": lambda parent: ("SET", parent.queue_key + ":waiting-children", "x"),
    "prioritized": lambda parent: ("SET", parent.queue_key + ":prioritized", "x"),
    "counter of priorities": lambda parent: ("SET", parent.queue_key + ":pc", "x"),
    "events": lambda parent: ("SET", parent.queue_key + ":events", "x"),
    "marker": lambda parent: ("SET", parent.queue_key + ":marker", "x"),
    "meta": lambda parent: ("SET", parent.queue_key + ":meta", "x"),
    "concurrency": lambda parent: ("HSET", parent.queue_key + ":meta", "concurrency", "many"),
}


@pytest.mark.parametrize("damage", DAMAGED_PARENTS)
async def test_a_child_of_a_damaged_parent_ends_and_the_parent_stays_where_it_is(
    damage: str, local_herd: Oxherd, prefix: str, records: Records
) -> None:
    child = handler(local_herd)
    async with local_herd:
        queue = (await local_herd.backend()).queue(child.declaration)
        parent = Parent(queue.client, prefix, "{parent}")
        cases = {f"{end} {policy}": end for end in ("completed", "failed") for policy in POLICIES}
        await parent.store(*(queue.keys.job(name) for name in cases), priority=1)
        command = DAMAGED_PARENTS[damage](parent)
        if command[0] == "SET":
            await queue.client.call(parent.slot, "DEL", command[1])
        await queue.client.call(parent.slot, *command)
        for name, end in cases.items():
            await put(queue, name, **parent.of_child(name.rpartition(" ")[2]), **ENDS[end][0])
        await local_herd.start()
        await until(lambda: empty(queue))
        await check_ends(queue, cases, records)
        assert damage == "waiting-children" or await parent.waits()
    assert not_notified(records) == sorted(event_id_text(queue.keys.queue, name) for name in cases)


async def test_old_jobs_that_are_removed_do_not_keep_others_from_ending(
    cluster: LocalCluster, make_herd: Callable[..., Oxherd], prefix: str, records: Records
) -> None:
    herd = make_herd(cluster.url)

    @herd.event(EVENT, keep=Keep(completed=2))
    async def child(order: Order) -> None: ...

    async with herd:
        queue = (await herd.backend()).queue(child.declaration)
        call, keys = queue.client.call, queue.keys
        parent = await parent_in_another_slot(queue.client, prefix, keys.slot, same_node=False)
        await put(queue, "old", place="unused", **parent.of_child())
        await call(keys.slot, "SET", keys.job("no hash"), "x")
        for score, job_id in enumerate(("old", "no hash")):
            await call(keys.slot, "ZADD", keys.completed, score, job_id)
        await herd.start()
        emitted = [await child.emit(Order()) for _ in range(3)]
        await records.wait("event.end", count=3, outcome="completed")
        kept = await call(keys.slot, "ZRANGE", keys.completed, 0, -1)
        assert len(kept) == 2
        assert set(kept) < {str(each.id).encode() for each in emitted}
        assert await call(keys.slot, "EXISTS", keys.job("old")) == 0
        assert await call(keys.slot, "GET", keys.job("no hash")) == b"x"
    assert not records.named("queue.error")


# -- parents whose children keep them from ending


@pytest.mark.parametrize("batched", [True, False])
async def test_a_parent_that_returns_before_its_children_have_ended_is_retried_and_fails(
    batched: bool, standalone: str, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(standalone, batched=batched)
    runs: list[float] = []

    @herd.event(EVENT, retry=Retry(attempts=3, delay=0.2, backoff="fixed", jitter=0))
    async def child(order: Order) -> None:
        runs.append(time.monotonic())

    async with herd:
        queue = (await herd.backend()).queue(child.declaration)
        await queue.client.call(queue.keys.slot, "SADD", queue.keys.job("1") + ":dependencies", "pending")
        await put(queue, "1")
        await herd.start()
        (end,) = await records.wait("event.end", outcome="failed")
        assert [vars(record)["outcome"] for record in records.named("event.end")] == ["retrying", "retrying", "failed"]
        assert all(later - before >= 0.2 for before, later in pairwise(runs))
        assert end.error["type"] == "PendingChildren"
        failed = await queue.client.call(queue.keys.slot, "ZRANGE", queue.keys.failed, 0, -1)
        reason = await queue.client.call(queue.keys.slot, "HGET", queue.keys.job("1"), "failedReason")
    assert failed == [b"1"]
    assert reason.decode() == end.error["message"]
    assert "has pending dependencies" in end.error["message"]
    assert not records.named("queue.error")


async def test_a_parent_is_completed_by_the_attempt_that_follows_the_end_of_its_children(
    local_herd: Oxherd, records: Records
) -> None:
    @local_herd.event(EVENT, retry=Retry(attempts=2, delay=0))
    async def child(order: Order, ctx: Context) -> None:
        if ctx.attempt == 2:
            await queue.client.call(queue.keys.slot, "DEL", queue.keys.job("1") + ":dependencies")

    async with local_herd:
        queue = (await local_herd.backend()).queue(child.declaration)
        await queue.client.call(queue.keys.slot, "SADD", queue.keys.job("1") + ":dependencies", "pending")
        await put(queue, "1")
        await local_herd.start()
        await records.wait("event.end", outcome="completed")
    assert [vars(record)["outcome"] for record in records.named("event.end")] == ["retrying", "completed"]


@pytest.mark.parametrize("batched", [True, False])
async def test_a_parent_with_a_failed_child_fails_without_another_attempt(
    batched: bool, standalone: str, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(standalone, batched=batched)

    @herd.event(EVENT, retry=Retry(attempts=3, delay=0))
    async def child(order: Order) -> None: ...

    async with herd:
        queue = (await herd.backend()).queue(child.declaration)
        await queue.client.call(queue.keys.slot, "ZADD", queue.keys.job("1") + ":unsuccessful", 1, "failed")
        await put(queue, "1")
        await herd.start()
        (end,) = await records.wait("event.end")
        assert (end.outcome, end.error["type"]) == ("failed", "FailedChildren")
        assert await queue.client.call(queue.keys.slot, "ZRANGE", queue.keys.failed, 0, -1) == [b"1"]
    assert "failed child" in end.error["message"]
    assert not records.named("queue.error")
