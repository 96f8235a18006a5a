"""Emits from threads without an event loop."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest

from oxherd import InvalidPayload, Oxherd, Unique, UsageError
from oxherd.admin import FoundEvent
from oxherd.producer.sync_portal import SyncPortal
from oxherd.servers.standalone import StandaloneServer
from tests.harness import DEADLINE, Records, environment

EVENTS = 200
THREADS = 8


async def waiting(herd: Oxherd) -> list[FoundEvent]:
    return await herd.admin.find(state="waiting").all()


async def test_threads_emit_each_event_once_and_in_the_order_of_each(herd: Oxherd) -> None:
    event = herd.declare("order.placed", dict[str, int])
    together = threading.Barrier(THREADS)

    def emit(thread: int) -> list[UUID]:
        together.wait()  # the first emits open what all share
        return [event.emit_sync({"thread": thread, "number": number}).id for number in range(EVENTS // THREADS)]

    with ThreadPoolExecutor(THREADS) as pool:
        loop = asyncio.get_running_loop()
        ids = await asyncio.gather(*(loop.run_in_executor(pool, emit, thread) for thread in range(THREADS)))
    async with herd:
        order = [each.id for each in await waiting(herd)]
    assert sorted(order) == sorted(each for of_thread in ids for each in of_thread)
    for of_thread in ids:
        assert [each for each in order if each in of_thread] == of_thread


async def test_what_goes_another_way_is_run_as_well(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed")
    async def placed(number: int) -> None: ...

    @herd.event("order.once", once=60)
    async def once(number: int) -> None: ...

    @herd.event("order.unique", unique=Unique(until="done", by=str))
    async def unique(number: int) -> None: ...

    @herd.event("order.sharded", shards=3)
    async def sharded(number: int) -> None: ...

    def emit() -> list[UUID]:
        plain = [event.emit_sync(1) for event in (placed, once, unique, sharded)]
        return [each.id for each in (*plain, placed.emit_sync(2, priority=3), placed.emit_sync(3, delay=0.1))]

    async with herd:
        await herd.start()
        for event_id in await asyncio.to_thread(emit):
            await records.wait("event.end", event_id=event_id, outcome="completed")
    assert len(records.named("event.begin")) == 6


async def test_an_id_that_is_stored_makes_no_second_event(herd: Oxherd) -> None:
    event = herd.declare("order.placed", int)
    first = await asyncio.to_thread(event.emit_sync, 1)
    again = await asyncio.to_thread(lambda: event.emit_sync(1, id=first.id))
    assert (again.id, again.duplicate) == (first.id, True)
    async with herd:
        assert len(await waiting(herd)) == 1


async def test_in_an_event_loop_nothing_is_sent_and_the_error_says_what_to_do(local_herd: Oxherd) -> None:
    event = local_herd.declare("order.placed", int)
    with pytest.raises(UsageError, match=r"await emit\(\.\.\.\) instead"):
        event.emit_sync(1)
    async with local_herd:
        assert await waiting(local_herd) == []


async def test_a_payload_that_does_not_fit_is_refused_before_anything_is_sent(local_herd: Oxherd) -> None:
    event: Any = local_herd.declare("order.placed", int)
    with pytest.raises(InvalidPayload):
        await asyncio.to_thread(event.emit_sync, "many")
    async with local_herd:
        assert await waiting(local_herd) == []


async def output_of(program: str, *arguments: str) -> tuple[str, str]:
    command = [sys.executable, "-W", "error::ResourceWarning", "-c", program, *arguments]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, env=environment(), timeout=60
    )
    return done.stdout, done.stderr


def connections(server: StandaloneServer) -> int:
    return sum("cmd=client" not in line for line in server.text("CLIENT", "LIST").splitlines())


def test_connections_are_shared_by_threads_and_closed_with_the_herd(make_herd: Callable[..., Oxherd]) -> None:
    with StandaloneServer() as server:
        herd = make_herd(server.url)
        event = herd.declare("order.placed", int)
        for number in range(50):  # as a development server does: a thread for each request
            thread = threading.Thread(target=event.emit_sync, args=(number,))
            thread.start()
            thread.join()
        assert connections(server) == 2  # the event loop's, and one that the threads had in turn
        with ThreadPoolExecutor(40) as pool:
            list(pool.map(event.emit_sync, range(400)))
        assert connections(server) <= 1 + 16
        herd.close_sync()
        assert connections(server) == 0
        event.emit_sync(1)
        herd.close_sync()
        assert connections(server) == 0
        assert server.command("LLEN", "bull:{order.placed}:wait") in (0, 451)


def test_a_close_leaves_the_calls_of_other_threads_their_connection_until_they_have_ended(
    make_herd: Callable[..., Oxherd],
) -> None:
    with StandaloneServer() as server, ThreadPoolExecutor(2) as pool:
        herd = make_herd(server.url)
        event = herd.declare("order.placed", int)
        began, closed = threading.Event(), threading.Event()

        async def emit_after_the_close() -> None:
            began.set()
            await asyncio.to_thread(closed.wait)
            await event.emit(1)

        emitting = pool.submit(herd.run_sync, emit_after_the_close())
        began.wait()
        herd.close_sync()
        closed.set()
        emitting.result(timeout=DEADLINE)
        assert connections(server) == 0
        assert server.command("LLEN", f"{herd.prefix}:{{order.placed}}:wait") == 1

        stop = threading.Event()

        def emit() -> int:
            emits = 0
            while not stop.is_set():
                event.emit_sync(1, priority=1)
                emits += 1
            return emits

        emits = [pool.submit(emit) for _ in range(2)]
        for _ in range(30):
            herd.close_sync()
        stop.set()
        stored = sum(each.result(timeout=DEADLINE) for each in emits)
        herd.close_sync()
        assert connections(server) == 0
        assert server.command("ZCARD", f"{herd.prefix}:{{order.placed}}:prioritized") == stored


INTERRUPTED = """
import asyncio, os, signal, sys, threading
from oxherd import Oxherd

herd = Oxherd(sys.argv[1])
began, ended = threading.Event(), threading.Event()

async def wait():
    began.set()
    try:
        await asyncio.Event().wait()
    finally:
        ended.set()

def interrupt():
    began.wait()
    while sys._current_frames()[threading.main_thread().ident].f_code.co_name != "wait":
        pass
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt).start()
try:
    herd.run_sync(wait())
except KeyboardInterrupt:
    print("interrupted", ended.wait(10))
herd.close_sync()
"""


async def test_a_call_whose_caller_is_interrupted_does_not_go_on_in_the_background(standalone: str) -> None:
    assert await output_of(INTERRUPTED, standalone) == ("interrupted True\n", "")


def test_a_close_waits_for_what_an_interrupted_caller_has_left_to_end() -> None:
    portal, began, ended = SyncPortal(), threading.Event(), threading.Event()

    async def left() -> None:
        try:
            began.set()
            await asyncio.sleep(DEADLINE)
        finally:
            ended.set()

    call = asyncio.run_coroutine_threadsafe(left(), portal.loop)
    began.wait()
    call.cancel()
    portal.close()
    assert ended.is_set()


def test_where_no_thread_can_be_started_nothing_is_left_open(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    herd = Oxherd("redis://127.0.0.1:1")
    event = herd.declare("order.placed", int)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="thread"):
            event.emit_sync(1)
    gc.collect()
    assert [str(each.message) for each in recwarn] == []
    herd.close_sync()


FORKING = """
import os, sys
from oxherd import Oxherd

herd = Oxherd(sys.argv[1], prefix=sys.argv[2])
event = herd.declare("order.placed", str)
ids = [event.emit_sync("parent").id]
children = []
for number in range(3):
    pid = os.fork()
    if pid == 0:
        for each in range(20):
            event.emit_sync(f"child {number}")
        herd.close_sync()
        os._exit(0)
    children.append(pid)
    event.emit_sync("parent")
statuses = [os.waitpid(pid, 0)[1] for pid in children]
event.emit_sync("parent")
herd.close_sync()
print(statuses)
"""


async def test_after_a_fork_parent_and_children_emit_over_connections_of_their_own(
    standalone: str, prefix: str, make_herd: Callable[..., Oxherd]
) -> None:
    assert await output_of(FORKING, standalone, prefix) == ("[0, 0, 0]\n", "")
    herd = make_herd(standalone)
    herd.declare("order.placed", str)
    async with herd:
        assert len(await waiting(herd)) == 3 * 20 + 5
