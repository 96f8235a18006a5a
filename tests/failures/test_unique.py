"""`unique=` where workers die, answers are lost, jobs vanish and keys are damaged."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from oxherd import Debounce, EmitError, Event, Oxherd, Unique
from oxherd.bullmq.queue import BullQueue
from oxherd.servers.standalone import StandaloneServer
from tests.harness import Records, WorkerProcess, until
from tests.lossy import LossyWay

RULES = {
    "done": Unique(until="done"),
    "last": Unique(until="done", keep_last=True),
    "within": Unique(within=60),
    "debounce": Debounce(wait=0.2),
}
APP = """
import asyncio, os, signal
from pathlib import Path
from oxherd import Oxherd, Unique

herd = Oxherd(prefix={prefix!r})

unique = Unique(until="done", keep_last=True, by=lambda sync: sync["of"])

@herd.event("customer.sync", lock=1, max_stalls=5, unique=unique)
async def customer_sync(sync: dict[str, str]) -> str:
    if Path("slow").exists():
        Path("began").touch()
        await asyncio.sleep(60)
    return sync["text"]
"""


def of(sync: dict[str, str]) -> str:
    return sync["of"]


@pytest.fixture
def server() -> Iterator[StandaloneServer]:
    """A server of the test's own, to be broken."""
    with StandaloneServer() as server:
        yield server


def declare(herd: Oxherd, rule: str, **options: Any) -> Event[dict[str, str], Any]:
    return herd.declare("customer.sync", dict[str, str], key=of, unique=RULES[rule], **options)


async def queue_of(herd: Oxherd) -> BullQueue:
    return (await herd.backend()).queue(herd["customer.sync"].declaration)


async def test_a_worker_that_is_killed_leaves_the_key_to_its_event_and_to_the_one_that_follows(
    server: StandaloneServer, tmp_path: Path, prefix: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    (tmp_path / "app.py").write_text(textwrap.dedent(APP).format(prefix=prefix))
    (tmp_path / "slow").touch()
    herd = Oxherd(server.url, prefix=prefix)
    sync = declare(herd, "last", result=str)
    async with herd:
        killed = start_worker(url=server.url)
        first = await sync.emit({"of": "ann", "text": "first"})
        await until((tmp_path / "began").exists)
        follower = await sync.emit({"of": "ann", "text": "second"})
        killed.close()
        # Nobody runs it, and it holds its key.
        last = await sync.emit({"of": "ann", "text": "third"})
        assert (follower.duplicate, last.id) == (False, follower.id)
        (tmp_path / "slow").unlink()
        start_worker(url=server.url, log="second.jsonl")
        assert await first.result(20) == "first"
        assert await follower.result(20) == "third"
        assert not (await sync.emit({"of": "ann", "text": "fourth"})).duplicate


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
async def test_an_emit_that_is_repeated_after_a_lost_answer_is_no_duplicate_of_itself(
    many: bool, rule: str, server: StandaloneServer, make_herd: Callable[..., Oxherd]
) -> None:
    async def emit(event: Event[dict[str, str], Any], customer: str) -> list[Any]:
        payload = {"of": customer, "text": ""}
        return await event.emit_many([payload, payload]) if many else [await event.emit(payload)]

    async with LossyWay(server.url) as way, make_herd(server.url) as watcher, make_herd(way.url) as producer:
        declare(watcher, rule)
        sync = declare(producer, rule)
        await emit(sync, "ann")  # now the server knows the script
        way.lose_answers()
        emitting = asyncio.create_task(emit(sync, "bob"))
        queue = await queue_of(watcher)

        async def is_stored() -> bool:
            return sum((await queue.counts()).values()) == 2

        await until(is_stored)
        way.cut()
        first, *rest = await emitting
        assert not first.duplicate
        assert [(each.duplicate, each.id) for each in rest] == [(True, first.id)] * len(rest)
        assert await is_stored()
        again, *_ = await emit(sync, "bob")
        assert (again.duplicate, again.id) == (True, first.id)


async def test_a_repeated_add_of_an_id_is_no_duplicate_and_another_emit_of_it_is(
    server: StandaloneServer, make_herd: Callable[..., Oxherd]
) -> None:
    event_id = uuid4()
    async with LossyWay(server.url) as way, make_herd(server.url) as watcher, make_herd(way.url) as producer:
        event = producer.declare("customer.sync", int)
        watched = watcher.declare("customer.sync", int)
        await event.emit(1)
        way.lose_answers()
        emitting = asyncio.create_task(event.emit(1, id=event_id))
        queue = await queue_of(watcher)
        await until(lambda: queue.holds(str(event_id)))
        way.cut()
        assert not (await emitting).duplicate
        assert (await watched.emit(1, id=event_id)).duplicate


@pytest.mark.parametrize("rule", ["done", "last", "debounce"])
async def test_a_key_whose_event_has_vanished_is_taken_by_the_next(
    rule: str, server: StandaloneServer, make_herd: Callable[..., Oxherd]
) -> None:
    async with make_herd(server.url) as herd:
        sync = declare(herd, rule)
        first = await sync.emit({"of": "ann", "text": "first"})
        queue = await queue_of(herd)
        await queue.client.call(queue.keys.slot, "DEL", queue.keys.job(str(first.id)))
        second = await sync.emit({"of": "ann", "text": "second"})
        assert not second.duplicate
        assert (await sync.emit({"of": "ann", "text": "third"})).id == second.id


async def test_what_was_to_follow_an_event_that_has_vanished_takes_its_place(
    server: StandaloneServer, make_herd: Callable[..., Oxherd]
) -> None:
    async with make_herd(server.url) as herd:
        sync = declare(herd, "last")
        first = await sync.emit({"of": "ann", "text": "first"})
        queue = await queue_of(herd)
        assert (await queue.fetch("worker:1", 60_000)).job is not None
        follower = await sync.emit({"of": "ann", "text": "second"})
        assert not follower.duplicate
        await queue.client.call(queue.keys.slot, "DEL", queue.keys.job(str(first.id)))
        last = await sync.emit({"of": "ann", "text": "third"})
        assert (last.duplicate, last.id) == (True, follower.id)
        fetched = (await queue.fetch("worker:2", 60_000)).job
        assert fetched is not None
        assert (fetched.id, fetched.data) == (str(follower.id), b'{"of":"ann","text":"third"}')


@pytest.mark.parametrize("rule", RULES)
async def test_a_full_server_leaves_no_key_without_its_event(
    rule: str, server: StandaloneServer, make_herd: Callable[..., Oxherd]
) -> None:
    async with make_herd(server.url, emit_timeout=0.5) as herd:
        sync = declare(herd, rule)
        await sync.emit({"of": "ann", "text": ""})
        server.command("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(EmitError, match="is not stored"):
            await sync.emit({"of": "bob", "text": ""})
        server.command("CONFIG", "SET", "maxmemory", "0")
        assert not (await sync.emit({"of": "bob", "text": ""})).duplicate


@pytest.mark.parametrize(("rule", "damaged"), [("done", "wait"), ("debounce", "delayed"), ("within", "events")])
async def test_a_damaged_queue_leaves_no_key_without_its_event(
    rule: str, damaged: str, server: StandaloneServer, make_herd: Callable[..., Oxherd]
) -> None:
    async with make_herd(server.url) as herd:
        sync = declare(herd, rule, once=60)
        key = (await queue_of(herd)).keys.base + damaged
        server.command("SET", key, "damaged")
        event_id = uuid4()
        with pytest.raises(EmitError, match="is not stored"):
            await sync.emit({"of": "ann", "text": ""}, id=event_id)
        server.command("DEL", key)
        assert not (await sync.emit({"of": "ann", "text": ""}, id=event_id)).duplicate


async def test_a_rule_that_a_deploy_has_changed_holds_for_what_waits(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    """Each emit goes by its own producer's rule; a key set under another holds as long as its event."""
    first_ids: dict[str, Any] = {}
    for rule in RULES:
        async with make_herd(server.url) as herd:
            first_ids[rule] = (await declare(herd, rule).emit({"of": f"{rule} first", "text": rule})).id
    for rule in RULES:
        async with make_herd(server.url) as herd:
            sync = declare(herd, rule)
            for before, first_id in first_ids.items():
                emitted = await sync.emit({"of": f"{before} first", "text": rule})
                assert (emitted.duplicate, emitted.id) == (True, first_id), (before, rule)
