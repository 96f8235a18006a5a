"""Connections that are cut while the server serves: replaced without a word, and without a loss."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from oxherd import Oxherd
from oxherd.servers.local_cluster import LocalCluster
from oxherd.servers.process import ServerProcess
from oxherd.servers.standalone import StandaloneServer
from tests.harness import Records, until
from tests.local_sentinel import LocalSentinel


@pytest.fixture
def server() -> Iterator[StandaloneServer]:
    with StandaloneServer(settings={"appendonly": "yes"}) as server:
        yield server


def clients(server: ServerProcess, *, waiting: bool | None = None) -> list[str]:
    """The ids of oxherd's connections; of those that wait, or do not."""
    lines = server.text("CLIENT", "LIST").splitlines()
    return [
        line.split()[0].removeprefix("id=")
        for line in lines
        if "cmd=client" not in line and waiting in (None, "cmd=bzpopmin" in line)
    ]


async def timed_out(server: StandaloneServer) -> None:
    server.command("CONFIG", "SET", "timeout", 1)
    idle = set(clients(server, waiting=False))
    await until(lambda: len(idle - set(clients(server))) >= 3)  # one of each event loop, and of the thread


async def killed(server: StandaloneServer) -> None:
    server.command("CLIENT", "KILL", "TYPE", "normal")


async def unblocked(server: StandaloneServer) -> None:
    for each in clients(server, waiting=True):
        server.command("CLIENT", "UNBLOCK", each, "ERROR")


@pytest.mark.parametrize("cut", [timed_out, killed, unblocked])
async def test_idle_connections_that_are_cut_are_no_outage(
    cut: Callable[[StandaloneServer], asyncio.Future[None]],
    server: StandaloneServer,
    make_herd: Callable[..., Oxherd],
    records: Records,
) -> None:
    herd = make_herd(server.url)

    @herd.event("order.placed")
    async def order_placed(number: int) -> None: ...

    @herd.event("order.paid", durable=True)
    async def order_paid(number: int) -> None: ...

    async with herd:
        await herd.start()
        for number in range(3):
            # From two event loops and a thread, and over each kind of connection.
            emitted = await order_placed.emit(number), await order_paid.emit(number)
            emitted = *emitted, await asyncio.to_thread(order_placed.emit_sync, number)
            emitted = *emitted, await asyncio.to_thread(order_placed.emit_sync, number, priority=1)
            for each in emitted:
                await records.wait("event.end", event_id=each.id, outcome="completed")
            await until(lambda: clients(server, waiting=True))
            await cut(server)
        emitted = await order_placed.emit(4)
        await records.wait("event.end", event_id=emitted.id, outcome="completed")
    assert not records.named("redis.error") + records.named("queue.error")


async def test_a_wait_that_another_user_unblocks_is_over_and_no_outage_while_a_durable_write_waits(
    make_herd: Callable[..., Oxherd], records: Records
) -> None:
    with StandaloneServer(settings={"appendonly": "yes", "appendfsync": "no"}) as server:
        event = (herd := make_herd(server.url)).declare("order.placed", int, durable=True)
        async with herd:
            emitting = asyncio.create_task(event.emit(1))
            await until(lambda: " cmd=waitaof" in server.text("CLIENT", "LIST"))
            for line in server.text("CLIENT", "LIST").splitlines():
                if " cmd=waitaof" in line:
                    server.command("CLIENT", "UNBLOCK", line.split()[0].removeprefix("id="), "ERROR")
            server.command("CONFIG", "SET", "appendfsync", "always")
            await emitting
    assert not records.named("redis.error")


async def test_a_server_that_is_killed_for_seconds_is_one_outage_whatever_was_connected(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(server.url)

    @herd.event("order.placed", durable=True)
    async def order_placed(number: int) -> None: ...

    async with herd:
        await herd.start()
        await order_placed.emit(1)
        await asyncio.to_thread(order_placed.emit_sync, 2)
        server.kill()
        await records.wait("redis.error")
        await asyncio.sleep(2)  # backed off, both event loops try again at different times
        server.start()
        await records.wait("redis.recovered")
        for number in range(3):
            await order_placed.emit(number)
            emitted = await asyncio.to_thread(order_placed.emit_sync, number)
            await records.wait("event.end", event_id=emitted.id, outcome="completed")
    assert (len(records.named("redis.error")), len(records.named("redis.recovered"))) == (1, 1)


async def test_a_connection_that_is_lost_before_it_has_answered_is_an_outage(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    """As behind a proxy that lets nothing through."""

    async def greet_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", server.port)
        while data := await reader.read(65536):
            if b"EVAL" in data:
                break
            back.write(data)
            writer.write(await there.read(65536))
        back.close()
        writer.close()

    async with await asyncio.start_server(greet_only, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        herd = make_herd(server.url.replace(f":{server.port}/", f":{port}/"), emit_timeout=1)
        with pytest.raises(Exception, match="was not acknowledged"):
            await herd.declare("order.placed", int).emit(1)
        assert records.named("redis.error")
        await herd.close()


async def test_connections_to_the_nodes_of_a_cluster_that_are_cut_are_no_outage(
    cluster: LocalCluster, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(cluster.url)

    @herd.event("order.placed", shards=8)
    async def order_placed(number: int) -> None: ...

    async with herd:
        await herd.start()
        for count in (16, 32, 48):
            await order_placed.emit_many(list(range(16)))
            await records.wait("event.end", count=count, outcome="completed")
            await until(lambda: sum(len(clients(node, waiting=True)) for node in cluster.nodes) == 8)
            for node in cluster.nodes:
                node.command("CLIENT", "KILL", "TYPE", "normal")
    assert not records.named("redis.error")


@pytest.mark.slow
async def test_a_fail_over_by_sentinels_is_at_most_one_outage(
    make_herd: Callable[..., Oxherd], records: Records
) -> None:
    sentinel = LocalSentinel()
    await asyncio.to_thread(sentinel.start)
    try:
        herd = make_herd(sentinel.url)

        @herd.event("order.placed")
        async def order_placed(number: int) -> None: ...

        async with herd:
            await herd.start()
            await order_placed.emit(1)
            await asyncio.to_thread(sentinel.failover)
            emitted = await order_placed.emit(2)
            await records.wait("event.end", event_id=emitted.id, outcome="completed")
            await asyncio.to_thread(sentinel.wait_stable)
        assert len(records.named("redis.error")) == len(records.named("redis.recovered")) <= 1
    finally:
        await asyncio.to_thread(sentinel.stop)
