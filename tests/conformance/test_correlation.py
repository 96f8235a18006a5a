"""One grep for the root's id shows the whole story: what a handler emits carries what caused it, and the trace."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from oxherd import Context, Every, Keep, Oxherd, Retry
from oxherd.bullmq.job import NewJob
from oxherd.telemetry.logs.console_formatter import ConsoleFormatter
from oxherd.telemetry.logs.json_formatter import JSONFormatter
from tests.harness import Records, WorkerProcess, until

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
shop = logging.getLogger("shop")


async def options_of(herd: Oxherd, event: str, job: UUID) -> dict[str, Any]:
    """A job's options, as they are stored."""
    backend = await herd.backend()
    keys = backend.queue(herd[event].declaration).keys
    return json.loads(await backend.client.call(keys.slot, "HGET", keys.job(str(job)), "opts"))


async def add(herd: Oxherd, event: str, job: str, **options: Any) -> None:
    """Add a job as another program may."""
    backend = await herd.backend()
    queue = backend.queue(herd[event].declaration)
    await queue.add(NewJob(job, event, b"1", options), deadline=asyncio.get_running_loop().time() + 10)


async def test_what_a_handler_emits_carries_the_event_that_emitted_it_and_the_first_of_them_all(
    herd: Oxherd, records: Records
) -> None:
    seen: dict[str, list[tuple[UUID, UUID | None, UUID]]] = {}

    def see(ctx: Context) -> None:
        seen.setdefault(ctx.event, []).append((ctx.id, ctx.caused_by, ctx.root))
        shop.info("seen")

    @herd.event("story.third")
    def third(number: int, ctx: Context) -> None:
        see(ctx)

    @herd.event("story.second")
    async def second(number: int, ctx: Context) -> None:
        see(ctx)
        await third.emit(number)

    @herd.event("story.first")
    async def first(number: int, ctx: Context) -> None:
        see(ctx)
        await second.emit(1)
        await second.emit_many([2, 3])
        await second.emit(4, priority=2)
        await second.emit(5, delay=0.01, once=60)
        await second.emit(6, once=60)

    async with herd:
        root = (await first.emit(1)).id
        assert "tm" not in await options_of(herd, "story.first", root)
        await herd.start()
        await records.wait("event.end", count=13, outcome="completed")
    assert seen["story.first"] == [(root, None, root)]
    assert [each[1:] for each in seen["story.second"]] == [(root, root)] * 6
    seconds = {each[0] for each in seen["story.second"]}
    assert {each[1] for each in seen["story.third"]} == seconds
    assert [each[2] for each in seen["story.third"]] == [root] * 6
    # Those of the first name it as their event_id, all others as their root.
    for message in ("event.begin", "seen", "event.end"):
        assert len(records.named(message, event_id=root)) == 1
        assert not hasattr(records.named(message, event_id=root)[0], "root")
        assert len(records.named(message, root=root)) == 12
    assert len(records.named("event.end", caused_by=root)) == 6
    assert not [record for record in records.named("seen") if hasattr(record, "caused_by")]


async def test_an_event_that_is_tried_again_keeps_what_it_carries(herd: Oxherd, records: Records) -> None:
    attempts: list[tuple[int, UUID | None]] = []

    @herd.event("retry.child", retry=Retry(attempts=3, delay=0.02))
    async def child(number: int, ctx: Context) -> None:
        attempts.append((ctx.attempt, ctx.caused_by))
        if ctx.attempt < 3:
            raise OSError

    @herd.event("retry.parent")
    async def parent(number: int) -> None:
        await child.emit(number)

    async with herd:
        root = (await parent.emit(1)).id
        await herd.start()
        await records.wait("event.end", event="retry.child", outcome="completed")
    assert attempts == [(1, root), (2, root), (3, root)]
    assert len(records.named("event.end", outcome="retrying", root=root, caused_by=root)) == 2


async def test_a_tick_is_the_root_of_what_it_causes_also_where_a_handler_has_made_the_schedule(
    local_herd: Oxherd, records: Records
) -> None:
    ticks: list[Context] = []
    children: list[Context] = []

    @local_herd.event("tick.child")
    async def child(number: int, ctx: Context) -> None:
        children.append(ctx)

    @local_herd.event("tick.tick")
    async def tick(number: int, ctx: Context) -> None:
        ticks.append(ctx)
        await child.emit(number)

    @local_herd.event("tick.maker")
    async def maker(number: int) -> None:
        await tick.schedule("often", Every(0.2), number)

    async with local_herd:
        await maker.emit(1)
        await local_herd.start()
        await records.wait("event.end", count=2, event="tick.child", outcome="completed")
        await tick.unschedule("often")
    assert [(ctx.caused_by, ctx.root) for ctx in ticks[:2]] == [(None, ctx.id) for ctx in ticks[:2]]
    assert [(ctx.caused_by, ctx.root) for ctx in children[:2]] == [(ctx.id, ctx.id) for ctx in ticks[:2]]


@pytest.mark.parametrize("batched", [True, False])
async def test_a_trace_that_an_event_came_with_goes_along(
    batched: bool, make_herd: Callable[..., Oxherd], standalone: str, records: Records
) -> None:
    herd = make_herd(standalone, batched=batched)

    @herd.event("trace.child", keep=Keep(completed=1))
    async def child(number: int) -> None: ...

    @herd.event("trace.parent")
    async def parent(number: int) -> None:
        await child.emit(number)

    async with herd:
        metadata = {"traceparent": PARENT, "tracestate": "a=b", "baggage": "secret=1"}
        await add(herd, "trace.parent", "from-node", tm=json.dumps(metadata))
        await herd.start()
        ended = (await records.wait("event.end", event="trace.child"))[0]
        began = (await records.wait("event.begin", event="trace.parent"))[0]
        carried = json.loads((await options_of(herd, "trace.child", ended.event_id))["tm"])
    assert carried == {
        "traceparent": PARENT,
        "tracestate": "a=b",
        "oxherd.caused_by": began.event_id,
        "oxherd.root": began.event_id,
    }
    # Without a parent of ours, it is its own root, whatever its trace.
    assert not hasattr(began, "root")


@pytest.mark.parametrize(
    "metadata",
    [
        "",
        "{",
        "7",
        "[]",
        '{"traceparent":"secret-word","oxherd.root":"secret-word","oxherd.caused_by":"x"}',
        7,
        None,
        {},
    ],
)
async def test_malformed_metadata_is_ignored_and_reaches_no_record(
    metadata: Any, local_herd: Oxherd, records: Records
) -> None:
    seen: list[Context] = []

    @local_herd.event("odd.metadata")
    async def odd(number: int, ctx: Context) -> None:
        seen.append(ctx)

    async with local_herd:
        await add(local_herd, "odd.metadata", "odd", tm=metadata)
        await local_herd.start()
        await records.wait("event.end", outcome="completed")
    assert (seen[0].caused_by, seen[0].root) == (None, seen[0].id)
    lines = [JSONFormatter().format(record) for record in records.all]
    assert not [line for line in lines if "secret" in line or '"root"' in line]
    assert not records.named("queue.error")


async def test_threads_that_a_handler_hands_its_context_to_belong_to_the_event(
    local_herd: Oxherd, records: Records
) -> None:
    """`asyncio.to_thread` does it by itself; raw threads and pools are given `copy_context().run`."""

    @local_herd.event("thread.child")
    def child(where: str) -> None:
        shop.info("child")

    def work(where: str) -> None:
        shop.info("at work", extra={"where": where})
        child.emit_sync(where)

    @local_herd.event("thread.async")
    async def in_loop(number: int) -> None:
        await asyncio.to_thread(work, "to_thread")
        context = copy_context()
        with ThreadPoolExecutor(1) as pool:
            await asyncio.get_running_loop().run_in_executor(pool, lambda: context.run(work, "pool"))

    @local_herd.event("thread.def")
    def in_thread(number: int) -> None:
        work("handler")
        thread = threading.Thread(target=copy_context().run, args=(work, "thread"))
        thread.start()
        thread.join()
        asyncio.run(asyncio.to_thread(work, "own loop"))

    async with local_herd:
        emitted = [await in_loop.emit(1), await in_thread.emit(1)]
        await local_herd.start()
        await records.wait("event.end", count=5, event="thread.child", outcome="completed")
    first, second = (str(each.id) for each in emitted)
    wanted = {"to_thread": first, "pool": first, "handler": second, "thread": second, "own loop": second}
    at_work: list[Any] = records.named("at work", attempt=1)
    assert {record.where: record.event_id for record in at_work} == wanted
    ends: list[Any] = records.named("event.end", event="thread.child")
    assert sorted(record.caused_by for record in ends) == sorted(wanted.values())
    children: list[Any] = records.named("child")
    assert {record.root for record in children} == {first, second}


APP = """
import asyncio, logging, threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from oxherd import Context, Oxherd

herd = Oxherd()
log = logging.getLogger("shop")

@herd.event("work.child", sanitize=lambda where: where)
def child(where: str, ctx: Context) -> None:
    log.info("child", extra={"where": where, "is_root": ctx.caused_by is None})

def work(where: str) -> None:
    log.info("at work", extra={"where": where})
    child.emit_sync(where)

POOL = ThreadPoolExecutor(1)

@herd.event("work.loop")
async def in_loop(number: int) -> None:
    await asyncio.get_running_loop().run_in_executor(None, copy_context().run, work, "executor")
    threads = [
        threading.Thread(target=copy_context().run, args=(work, "thread")),
        threading.Timer(0, copy_context().run, (work, "timer")),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Of several events, of which none is the others'.
    POOL.submit(copy_context().run, work, "pool").result()

@herd.event("work.process", run_in="process")
def in_process(number: int) -> None:
    work("process")
    thread = threading.Thread(target=copy_context().run, args=(log.info, "in a process's thread"))
    thread.start()
    thread.join()

@herd.event("work.middle", run_in="process")
def middle(number: int, ctx: Context) -> None:
    log.info("middle")
    assert ctx.root != ctx.id
    in_process.emit_sync(number)

@herd.event("work.first")
async def first(number: int) -> None:
    await middle.emit(number)
"""


async def test_threads_and_pools_that_are_handed_the_context_and_processes_hand_on_the_event(
    local_herd: Oxherd, tmp_path: Path, start_worker: Callable[..., WorkerProcess], standalone: str
) -> None:
    (tmp_path / "app.py").write_text(APP.replace("Oxherd()", f"Oxherd(prefix={local_herd.prefix!r})"))
    first = local_herd.declare("work.first", int)
    in_loop = local_herd.declare("work.loop", int)
    async with local_herd:
        root, others = (await first.emit(1)).id, [(await in_loop.emit(number)).id for number in range(3)]
    worker = start_worker(url=standalone)
    await until(lambda: worker.count("event.end", event="work.child") == 1 + 3 * 4)
    assert worker.stop() == 0
    for other in others:
        for where in ("executor", "thread", "timer", "pool"):
            assert worker.count("at work", where=where, event_id=str(other), attempt=1) == 1
            assert worker.count("child", where=where, root=str(other), is_root=False) == 1
    assert worker.count("in a process's thread", event="work.process", root=str(root)) == 1
    for message, event in [("middle", "work.middle"), ("at work", "work.process"), ("child", "work.child")]:
        assert worker.count(message, event=event, root=str(root)) == 1
    causes = {each["event"]: each.get("caused_by") for each in worker.records() if each["msg"] == "event.end"}
    assert causes["work.middle"] == str(root)
    assert causes["work.first"] is None
    # In JSON, root's id is on each line of the story.
    lines = [line for line in worker.log.read_text().splitlines() if str(root) in line]
    assert len(lines) == 2 * 4 + 4


def test_a_record_of_an_event_that_was_caused_is_written_as_any_other() -> None:
    """The quick way for what is on every event's records, and the slow one for what else is on them, say the same."""
    base = {"event": "a", "event_id": "b", "attempt": 1, "fence": 2}
    cause, shown = {"caused_by": "c", "root": "d"}, {"payload": {"x": 1}, "_payload_json": b'{"x":1}'}
    ended = {**base, "outcome": "completed", "duration_ms": 1.5}
    for message, each in [("event.begin", base), ("event.end", ended)]:
        for fields in (each, {**each, **cause}, *([{**each, **shown}, {**each, **cause, **shown}] * ("fence" in each))):
            for extra in ({}, {"a_1": 1, "a_2": 2}, {"a_1": 1, "a_2": 2, "a_3": 3, "a_4": 4}):
                record = logging.makeLogRecord({"name": "oxherd", "msg": message, "levelname": "INFO"} | fields | extra)
                told = json.loads(JSONFormatter().format(record))
                known = {key: value for key, value in (fields | extra).items() if not key.startswith("_")}
                assert {k: v for k, v in told.items() if k not in ("ts", "level", "logger", "msg")} == known
                assert ("root=d" in ConsoleFormatter(colour=False).format(record)) == ("root" in fields)
