"""Connections of threads without an event loop, on each kind of server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from oxherd.redis.blocking_connections import Unanswered
from oxherd.redis.client import Client, key_slot, pack_command
from oxherd.redis.outage import Outages
from oxherd.redis.url import parse_url
from tests.harness import until

KEY = "a key"


@pytest.fixture
async def client(url: str) -> AsyncIterator[Client]:
    client = Client(parse_url(url), Outages(lambda _: None))
    yield client
    await client.close()


async def ask(client: Client, *command: str, seconds: float = 10) -> object:
    return await asyncio.to_thread(client.ask, key_slot(KEY), pack_command(*command), seconds)


async def test_a_thread_asks_the_node_of_a_slot_once_the_loop_has_found_it(client: Client) -> None:
    with pytest.raises(Unanswered) as caught:
        await ask(client, "GET", KEY)
    assert not caught.value.sent
    await client.call(key_slot(KEY), "PING")
    assert await ask(client, "GET", KEY) is None
    together = [ask(client, "ECHO", str(number)) for number in range(20)]
    assert await asyncio.gather(*together) == [str(number).encode() for number in range(20)]


async def test_a_refusal_leaves_the_connection_and_is_no_doubt(client: Client) -> None:
    await client.call(key_slot(KEY), "PING")
    mine = await ask(client, "CLIENT", "ID")
    with pytest.raises(Unanswered) as caught:
        await ask(client, "NOSUCHCOMMAND")
    assert not caught.value.sent
    assert await ask(client, "CLIENT", "ID") == mine


async def test_what_takes_too_long_may_have_been_done(client: Client) -> None:
    await client.call(key_slot(KEY), "PING")
    mine = await ask(client, "CLIENT", "ID")
    with pytest.raises(Unanswered) as caught:
        await ask(client, "BLPOP", KEY, "1", seconds=0.1)
    assert caught.value.sent
    assert await ask(client, "CLIENT", "ID") != mine


async def command_of(client: Client, connection: object) -> bytes:
    """What a connection does, or did last; empty if it is closed."""
    return await client.call(key_slot(KEY), "CLIENT", "LIST", "ID", str(connection))


async def test_after_the_close_no_connection_is_kept(client: Client) -> None:
    await client.call(key_slot(KEY), "PING")
    mine = await ask(client, "CLIENT", "ID")
    waiting = asyncio.create_task(ask(client, "BLPOP", KEY, "1"))

    async def waits() -> bool:
        return b"cmd=blpop" in await command_of(client, mine)

    await until(waits)
    await client.close()
    assert await waiting is None
    observer = Client(client.url, Outages(lambda _: None))

    async def closed() -> bool:
        return not await command_of(observer, mine)

    await until(closed)
    await observer.close()
