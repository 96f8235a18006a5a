"""Ways to connect (sockets, users, TLS), and the number of connections."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import uvloop

from oxherd import EmitError, Oxherd, RedisUnavailable
from oxherd.redis.client import pack_command
from oxherd.redis.connection import open_connection
from oxherd.redis.node import Node
from oxherd.redis.outage import Outages
from oxherd.redis.pipelined_connection import PipelinedConnection
from oxherd.redis.url import Address, parse_url
from oxherd.servers.ports import free_ports
from oxherd.servers.standalone import StandaloneServer
from tests.harness import Records


async def works(herd: Oxherd, records: Records) -> None:
    """Emit and process one event."""

    @herd.event("order.placed")
    async def order_placed(order: dict[str, int]) -> None: ...

    async with herd:
        await herd.start()
        emitted = await order_placed.emit({"order_id": 1})
        await records.wait("event.end", event_id=emitted.id, outcome="completed")


async def test_a_unix_socket_with_a_password(make_herd: Callable[..., Oxherd], records: Records) -> None:
    with StandaloneServer(unix=True, password="p@ss:w/rd") as server:
        await works(make_herd(server.url), records)


async def test_a_user_with_a_password_and_another_database(make_herd: Callable[..., Oxherd], records: Records) -> None:
    with StandaloneServer() as server:
        server.command("ACL", "SETUSER", "worker", "on", ">p@ss", "~*", "&*", "+@all")
        await works(make_herd(f"redis://worker:p%40ss@127.0.0.1:{server.port}/5"), records)
        keyspace = str(server.command("INFO", "keyspace"))
        assert "db5:" in keyspace
        assert "db0:" not in keyspace


@pytest.fixture
def tls(tmp_path: Path, redis7_binary: Path) -> Iterator[tuple[int, Path]]:
    """A TLS server with a self-signed certificate: its port, and the certificate."""
    run = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    run += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run([*run, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    with StandaloneServer() as free:
        port = free.port
    settings = {"tls-port": port, "tls-cert-file": certificate, "tls-key-file": key, "tls-ca-cert-file": certificate}
    with StandaloneServer(binary=redis7_binary, password="", settings={**settings, "tls-auth-clients": "no"}):
        yield port, certificate


@pytest.mark.redis7
async def test_tls_with_verification(tls: tuple[int, Path], make_herd: Callable[..., Oxherd], records: Records) -> None:
    port, authority = tls
    await works(make_herd(f"rediss://localhost:{port}/0?ssl_ca_certs={authority}"), records)


@pytest.mark.redis7
async def test_tls_refuses_a_certificate_without_a_trusted_ca(
    tls: tuple[int, Path], make_herd: Callable[..., Oxherd], records: Records
) -> None:
    port, _ = tls
    herd = make_herd(f"rediss://localhost:{port}/0", emit_timeout=1)
    async with herd:
        with pytest.raises(EmitError, match="is not stored"):
            await herd.declare("order.placed", dict[str, int]).emit({"order_id": 1})
    assert len(records.named("redis.error")) == 1


async def test_a_worker_has_one_shared_connection_and_one_for_each_waiting_queue(
    make_herd: Callable[..., Oxherd], records: Records
) -> None:
    with StandaloneServer() as server:
        herd = make_herd(server.url)

        @herd.event("order.placed", concurrency=50)
        async def order_placed(order: dict[str, int]) -> None:
            await asyncio.sleep(0.001)

        @herd.event("order.shipped")
        async def order_shipped(order: dict[str, int]) -> None: ...

        async with herd:
            await herd.start()
            await order_placed.emit_many([{"order_id": i} for i in range(500)])
            await order_shipped.emit_many([{"order_id": i} for i in range(50)])
            await records.wait("event.end", count=550, outcome="completed")
            connected = server.info("clients")["connected_clients"]
            made = int(server.info("stats")["total_connections_received"])
        assert int(connected) <= 4  # ours, two that wait, and the test's own
        await asyncio.sleep(0)
        assert made < 20  # the test's own looks, and ours: none for an event


async def dead_node() -> Node:
    """A node without a server that was tried once, so that further attempts back off."""
    (port,) = free_ports(1)
    address = Address("127.0.0.1", port)

    async def resolve() -> Address:
        return address

    node = Node(str(address), parse_url(f"redis://127.0.0.1:{port}"), resolve, Outages(lambda _: None))
    with pytest.raises(RedisUnavailable):
        await node.connect()
    return node


async def test_a_node_that_is_closed_does_not_cancel_callers_that_wait_for_it() -> None:
    # As in a failover: the dead primary is no longer needed while calls wait to connect to it.
    node = await dead_node()
    waiting = [asyncio.create_task(node.connect()) for _ in range(3)]
    await asyncio.sleep(0)
    await node.close()
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(error) for error in ended] == [RedisUnavailable] * 3


async def test_a_caller_that_waits_for_a_node_can_be_cancelled_alone() -> None:
    node = await dead_node()
    one, other = (asyncio.create_task(node.connect()) for _ in range(2))
    await asyncio.sleep(0)
    one.cancel()
    ended = await asyncio.gather(one, other, return_exceptions=True)
    assert [type(error) for error in ended] == [asyncio.CancelledError, RedisUnavailable]
    await node.close()


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_call_on_a_connection_that_was_reset_fails_as_lost(make_loop: Callable[[], Any], standalone: str) -> None:
    # The loop knows that the connection is gone, and our reader does not yet.
    async def call_after(turns: int) -> None:
        url = parse_url(standalone)
        connection = await open_connection(url, url.seeds[0])
        lost: list[BaseException] = []
        pipelined = PipelinedConnection(connection, "node", lost.append)
        await pipelined.send(pack_command("PING"))
        cast("Any", connection)._writer.transport.abort()
        for _ in range(turns):
            await asyncio.sleep(0)
        if pipelined.alive:
            future = pipelined.send(pack_command("PING"), at_once=True)
            with pytest.raises(RedisUnavailable):
                await asyncio.wait_for(future, 5)
        assert len(lost) == 1
        assert not pipelined.alive

    with asyncio.Runner(loop_factory=make_loop) as runner:
        for turns in range(4):
            runner.run(call_after(turns))


async def test_an_unexpected_reply_closes_the_connection(standalone: str) -> None:
    url = parse_url(standalone)
    connection, other = [await open_connection(url, url.seeds[0]) for _ in range(2)]
    lost: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
    pipelined, speaker = (
        PipelinedConnection(connection, "node", lost.set_result),
        PipelinedConnection(other, "node", lost.set_result),
    )
    await pipelined.send(pack_command("SUBSCRIBE", "unexpected"))
    await speaker.send(pack_command("PUBLISH", "unexpected", "for this"))
    async with asyncio.timeout(5):
        assert isinstance(await lost, IndexError)
    assert not pipelined.alive
    assert not connection.is_connected
    await speaker.close()
