"""The rights in docs/operations.md are enough for the whole product, and each is needed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from oxherd import Oxherd
from oxherd.bullmq import scripts
from oxherd.bullmq.keys import QueueKeys
from oxherd.servers.local_cluster import LocalCluster
from oxherd.servers.standalone import StandaloneServer
from tests.harness import Records, WorkerProcess, until
from tests.interop.node_script import NodeScript
from tests.local_sentinel import LocalSentinel
from tests.node import node_packages, require_node
from tests.security.product import Order, ProductRun, durable, whole_range
from tests.security.rights import (
    ADMIN,
    ADMIN_PASSWORD,
    EVERYTHING,
    PASSWORD,
    USER,
    AuditedServer,
    documented,
    granted,
    guarded,
)

# What stands in BullMQ's scripts, on ways that nothing of ours takes.
NOT_REACHED = {
    "persist": "for a job that replaces the next one of its deduplication id; ours do not",
    "lpop": "for a delayed job that the test kit makes due",
}
CALL = re.compile(rb"""(?:rcall|redis\.p?call|fails)\(\s*["'](\w+)["']""")
# What any user may do, and what the tests themselves do.
NEEDS_NO_RIGHT = {"auth"}
OF_THE_TEST = {"acl|log", "acl|setuser", "config|resetstat", "client|kill", "cluster|slots"}
NODE = """
const name = "order.shared", queueName = "{order.shared}";
const job = (number, opts) => ({ name, queueName, data: { number }, opts: { attempts: 1, ...opts } });
for (const word of ["", "failParent", "continueParent", "ignoreDependency", "removeDependency"]) {
    const child = job(word ? -1 : 1, word ? { [`${word}OnFailure`]: true } : {});
    await flows().add({ ...job(0), children: [job(1), child] });
}
const add = (number, deduplication) => queue.add(name, { number }, { deduplication, attempts: 1 });
for (const number of [1, 2]) await add(number, { id: "throttled", ttl: 60000 });
await queue.setGlobalRateLimit(100, 1000);
await add(99, { id: "last", keepLastIfActive: true });
const runs = async () => (await queue.getActive()).some((job) => job.data.number === 99);
while (!(await runs())) await new Promise((next) => setTimeout(next, 10));
await add(3, { id: "last", keepLastIfActive: true });
say("followed");
await done();
"""


@pytest.fixture
def run(
    records: Records, tmp_path: Path, start_worker: Callable[..., WorkerProcess]
) -> Callable[[AuditedServer], ProductRun]:
    return lambda place: ProductRun(place, records, tmp_path, start_worker)


async def test_the_documented_rights_are_enough_for_the_whole_product_and_each_is_needed(
    standalone: AuditedServer, run: Callable[[AuditedServer], ProductRun]
) -> None:
    await whole_range(run(standalone))
    assert standalone.refusals() == []
    used = set(standalone.called()) - NEEDS_NO_RIGHT - OF_THE_TEST
    assert granted("") == used


@pytest.mark.slow
async def test_the_documented_rights_are_enough_on_a_cluster(run: Callable[[AuditedServer], ProductRun]) -> None:
    # The password is the default user's, who is the test; the nodes use it among themselves as well.
    cluster = LocalCluster(primaries=2, password=ADMIN_PASSWORD)
    await asyncio.to_thread(cluster.start)
    try:
        for node in cluster.nodes:
            node.command("ACL", "SETUSER", ADMIN, *EVERYTHING)
        addresses = [("127.0.0.1", node.port) for node in cluster.nodes]
        with guarded(cluster.url, addresses, "", "cluster", "replicas") as place:
            await whole_range(run(place))
            await durable(run(place))
            await _move_and_fail_over(cluster, run(place))
            assert place.refusals() == []
            assert granted("", "cluster", "replicas") <= set(place.called()) | {"select"}
    finally:
        await asyncio.to_thread(cluster.stop)


async def _move_and_fail_over(cluster: LocalCluster, run: ProductRun) -> None:
    """Emit and process while a slot moves, and while another node takes it over."""
    herd = run.herd()

    @herd.event("order.moved")
    async def moved(order: Order) -> None: ...

    slot = QueueKeys("bull", "{order.moved}").slot
    source = cluster.primary_of(slot)
    target = next(node for node in cluster.nodes[:2] if node is not source)
    async with herd:
        await asyncio.to_thread(cluster.begin_move, slot, target)
        await herd.start()
        # It is told to ask the target, again and again: a script with several keys runs once the move is over.
        emitting = asyncio.create_task(moved.emit(Order()))
        await until(lambda: run.place.called()["asking"])
        await asyncio.to_thread(cluster.move_keys, slot, target)
        await asyncio.to_thread(cluster.end_move, slot, target)
        await emitting
        await run.ended("order.moved", 1)
        await asyncio.to_thread(cluster.failover, cluster.replica_of(target))
        await moved.emit(Order())
        await run.ended("order.moved", 2)


@pytest.mark.slow
async def test_the_documented_rights_are_enough_behind_sentinels(run: Callable[[AuditedServer], ProductRun]) -> None:
    sentinel = LocalSentinel()
    await asyncio.to_thread(sentinel.start)
    try:
        for server in sentinel.servers:
            server.command("ACL", "SETUSER", ADMIN, *EVERYTHING)
            server.command("CONFIG", "SET", "masteruser", ADMIN, "masterauth", ADMIN_PASSWORD)
        for each in sentinel.sentinels:
            each.command("SENTINEL", "SET", "mymaster", "auth-user", ADMIN)
            each.command("SENTINEL", "SET", "mymaster", "auth-pass", ADMIN_PASSWORD)
            for line in documented("sentinels"):
                each.command(*line)
        for server in sentinel.servers:
            server.command("ACL", "SETUSER", "default", "off")
        url = f"{sentinel.url.partition('?')[0]}?sentinel_username={USER}&sentinel_password={PASSWORD}"
        with guarded(url, [("127.0.0.1", sentinel.servers[0].port)], "", "sentinel", "replicas") as place:
            await whole_range(run(place))
            await durable(run(place))
            assert place.refusals() == []
            assert granted("sentinel", "replicas") <= set(place.called())
            for each in sentinel.sentinels:
                assert each.command("ACL", "LOG") == []
    finally:
        await asyncio.to_thread(sentinel.stop)


async def test_the_documented_rights_are_enough_for_durable_events_on_disk(
    run: Callable[[AuditedServer], ProductRun],
) -> None:
    with StandaloneServer(settings={"appendonly": "yes"}) as server:
        server.command("ACL", "SETUSER", ADMIN, *EVERYTHING)
        with guarded(server.url, [("127.0.0.1", server.port)], "", "disk") as place:
            await durable(run(place))
            assert place.refusals() == []
            assert granted("disk") <= set(place.called())


@pytest.mark.node
async def test_the_documented_rights_are_enough_for_jobs_that_node_adds(
    standalone: AuditedServer, records: Records
) -> None:
    require_node()
    hold = asyncio.Event()
    herd = Oxherd(standalone.url)

    @herd.event("order.shared")
    async def shared(order: Order) -> None:
        if order.number < 0:
            raise ValueError("never")
        if order.number == 99:
            await hold.wait()

    url, queue = standalone.admin_url("bull:{order.shared}:wait"), "{order.shared}"
    script = NodeScript("node", node_packages(), url, "bull", queue, NODE)
    try:
        async with herd:
            await herd.start()
            await script.wait(lambda said: said == "followed")
            hold.set()
            # A parent that is to fail with its child fails unrun.
            await records.wait("event.end", count=3 * 5 - 1 + 3)
        await script.end()
    finally:
        script.close()
    assert standalone.refusals() == []


def test_every_command_of_the_scripts_is_granted_or_never_reached() -> None:
    """So that a new script, or another BullMQ, cannot need a right that no test happens to use."""
    texts = [scripts.script(name).text for name in (*scripts.BULLMQ, *scripts.OURS)]
    named = {found.decode().lower() for text in texts for found in CALL.findall(text)}
    assert named - granted("") == set(NOT_REACHED)


def test_each_missing_right_is_noticed(standalone: AuditedServer) -> None:
    """The other test sees that each command is called; this one, that the server then refuses it."""
    for command in sorted(granted("")):
        [[_, arity, *_]] = cast("Any", standalone.all("COMMAND", "INFO", command)[0])
        words = command.split("|")
        words += ["bull:{order.placed}:1"] * (abs(arity) - len(words))
        standalone.all("ACL", "SETUSER", USER, f"-{command}")
        [answer] = standalone.all("ACL", "DRYRUN", USER, *words)
        standalone.all("ACL", "SETUSER", USER, f"+{command}")
        assert f"permissions to run the '{command}' command" in str(answer)
        [answer] = standalone.all("ACL", "DRYRUN", USER, *words)
        assert answer == "OK"


@pytest.mark.parametrize(
    "words",
    [
        ["GET", "other"],
        ["SET", "bull2:{order.placed}:1", "1"],
        ["PUBLISH", "bull:{order.placed}:1", "1"],
        ["KEYS", "*"],
        ["CONFIG", "GET", "requirepass"],
        ["ACL", "LIST"],
        ["FLUSHALL"],
        ["SCRIPT", "FLUSH"],
        ["DEBUG", "SLEEP", "0"],
        ["CLIENT", "LIST"],
    ],
)
def test_everything_else_is_refused(words: list[str], standalone: AuditedServer) -> None:
    [answer] = standalone.all("ACL", "DRYRUN", USER, *words)
    assert "permissions" in str(answer)
