"""Emits from threads while their connections, or the server, are lost."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest

from oxherd import EmitError, Oxherd
from oxherd.servers.local_cluster import LocalCluster
from oxherd.servers.standalone import StandaloneServer
from tests.harness import Records, run, until_sync
from tests.lossy import LossyWay


@pytest.fixture
def server() -> Iterator[StandaloneServer]:
    with StandaloneServer(settings={"appendonly": "yes"}) as server:
        yield server


def clients(server: StandaloneServer) -> set[str]:
    return {line.split()[0] for line in server.text("CLIENT", "LIST").splitlines() if "name=oxherd" in line}


@pytest.mark.parametrize("cut", ["KILL", "timeout"])
def test_connections_that_the_server_has_closed_are_replaced_without_a_word(
    cut: str, server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(server.url)
    event = herd.declare("order.placed", int)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(event.emit_sync, range(40)))
    if cut == "KILL":
        server.command("CLIENT", "KILL", "TYPE", "normal")
    else:
        before = clients(server)
        server.command("CONFIG", "SET", "timeout", 1)
        until_sync(lambda: not before & clients(server))
        server.command("CONFIG", "SET", "timeout", 0)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(event.emit_sync, range(40)))
    herd.close_sync()
    assert server.command("LLEN", f"{herd.prefix}:{{order.placed}}:wait") == 80
    assert not records.named("redis.error") + records.named("queue.error")


async def test_an_emit_waits_for_a_server_that_comes_back_and_one_outage_is_logged(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(server.url, emit_timeout=30)
    event = herd.declare("order.placed", int)
    await asyncio.to_thread(event.emit_sync, 0)
    await asyncio.to_thread(server.terminate)
    with ThreadPoolExecutor(4) as pool:
        emits = [asyncio.get_running_loop().run_in_executor(pool, event.emit_sync, number) for number in range(4)]
        await records.wait("redis.error", source="connect")
        assert not any(each.done() for each in emits)
        await asyncio.to_thread(server.start)
        ids = {each.id for each in await asyncio.gather(*emits)}
    await records.wait("redis.recovered")
    await asyncio.to_thread(herd.close_sync)
    assert len(ids) == 4
    assert server.command("LLEN", f"{herd.prefix}:{{order.placed}}:wait") == 5
    assert len(records.named("redis.error")) == 1


async def test_a_server_that_falls_silent_ends_the_emit_within_its_time_and_says_that_it_may_be_stored(
    server: StandaloneServer, make_herd: Callable[..., Oxherd]
) -> None:
    herd = make_herd(server.url, emit_timeout=1)
    event = herd.declare("order.placed", int)
    await asyncio.to_thread(event.emit_sync, 0)
    server.pause()
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(EmitError, match="it may be stored: emit it again with the same id") as caught:
        await asyncio.to_thread(event.emit_sync, 1)
    assert 0.9 < loop.time() - began < 5
    assert caught.value.maybe_stored
    server.resume()
    await asyncio.to_thread(herd.close_sync)


async def test_an_emit_whose_answer_is_lost_makes_no_second_event(
    server: StandaloneServer, make_herd: Callable[..., Oxherd]
) -> None:
    async with LossyWay(server.url) as way:
        herd = make_herd(way.url)
        event = herd.declare("order.placed", int)
        await asyncio.to_thread(event.emit_sync, 0)
        way.lose_answers()
        emitting = asyncio.create_task(asyncio.to_thread(event.emit_sync, 1))
        wait = f"{herd.prefix}:{{order.placed}}:wait"
        await asyncio.to_thread(until_sync, lambda: server.command("LLEN", wait) == 2)
        way.cut()
        emitted = await emitting
        assert not emitted.duplicate
        assert server.command("LINDEX", wait, 0) == str(emitted.id)
        assert server.command("LLEN", wait) == 2
        await asyncio.to_thread(herd.close_sync)


def test_a_refusal_of_the_server_is_the_emits_error_and_the_next_one_goes_through(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(server.url, emit_timeout=0.5)
    event = herd.declare("order.placed", int)
    event.emit_sync(0)
    server.command("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(EmitError, match="is not stored"):
        event.emit_sync(1)
    server.command("CONFIG", "SET", "maxmemory", "0")
    event.emit_sync(2)
    herd.close_sync()
    assert server.command("LLEN", f"{herd.prefix}:{{order.placed}}:wait") == 2
    assert len(records.named("redis.error")) == 1


def test_a_script_that_the_server_has_forgotten_is_sent_again(
    server: StandaloneServer, make_herd: Callable[..., Oxherd]
) -> None:
    herd = make_herd(server.url)
    event = herd.declare("order.placed", int)
    for _ in range(2):
        event.emit_sync(0)
        server.command("SCRIPT", "FLUSH")
    event.emit_sync(0)
    herd.close_sync()
    assert server.command("LLEN", f"{herd.prefix}:{{order.placed}}:wait") == 3


@pytest.mark.slow
def test_threads_go_on_over_a_fail_over_and_lose_nothing(make_herd: Callable[..., Oxherd]) -> None:
    with LocalCluster() as cluster:
        herd = make_herd(cluster.url, emit_timeout=30)
        event = herd.declare("order.placed", int)
        first = [event.emit_sync(0).id, event.emit_sync(0).id]
        owner = cluster.primary_of(f"{herd.prefix}:{{order.placed}}:wait")
        # What a primary has acknowledged and no replica has heard of would be lost with it.
        until_sync(lambda: owner.command("WAIT", 1, 1000))
        owner.kill()

        def emit(thread: int) -> list[UUID]:
            return [event.emit_sync(number).id for number in range(100)]

        with ThreadPoolExecutor(4) as pool:
            ids = [each for of_thread in pool.map(emit, range(4)) for each in of_thread]
        stored = [each.id for each in herd.admin.find(state="waiting").all_sync()]
        herd.close_sync()
        assert sorted(stored) == sorted([*first, *ids])


OUTLIVES = """
import sys
import threading
from oxherd import Oxherd

event = Oxherd().declare("order.placed", int)


def emit(number):
    threading.main_thread().join()
    sys.stdout.write(event.emit_sync(number).event + "\\n")  # print would write the line's end by itself
    event.emit_many_sync([number, number])


for number in range(2):
    threading.Thread(target=emit, args=(number,)).start()
"""


def test_threads_that_outlive_the_main_thread_emit_for_the_first_time(server: StandaloneServer, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(OUTLIVES)
    url = server.url.replace("127.0.0.1", "localhost")  # a name is looked up
    ran = run(tmp_path, sys.executable, "program.py", OXHERD_URL=url)
    assert (ran.returncode, ran.stdout.split(), ran.stderr) == (0, ["order.placed"] * 2, "")
    assert server.command("LLEN", "bull:{order.placed}:wait") == 6
