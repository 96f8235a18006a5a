"""Commands that a server refuses among others that it serves; answers that are lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from pydantic import BaseModel

from oxherd import EmitError, Oxherd, RedisUnavailable
from oxherd.servers.standalone import StandaloneServer
from tests.harness import Records, until


class Order(BaseModel):
    order_id: int


@pytest.fixture
def server() -> Iterator[StandaloneServer]:
    with StandaloneServer() as server:
        yield server


@pytest.mark.parametrize("refused", ["bzpopmin", "client|unblock"])
async def test_a_command_that_is_not_granted_is_at_most_one_outage(
    refused: str, server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    server.command("ACL", "SETUSER", "worker", "on", ">secret", "~*", "&*", "+@all", f"-{refused}")
    herd = make_herd(f"redis://worker:secret@127.0.0.1:{server.port}/0")

    @herd.event("order.placed")
    async def order_placed(order: Order) -> None: ...

    async with herd:
        await herd.start()
        for number in range(40):
            await order_placed.emit(Order(order_id=number))
            await asyncio.sleep(0.02)
        await records.wait("event.end", count=40, outcome="completed")
        await herd.stop()
    assert len(records.named("redis.error")) == (1 if refused == "bzpopmin" else 0)


async def test_a_wrong_password_is_one_outage_and_is_not_shown(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(f"redis://:wrong-password@127.0.0.1:{server.port}/0", emit_timeout=1)
    event = herd.declare("order.placed", Order)
    async with herd:
        with pytest.raises(EmitError) as caught:
            await event.emit(Order(order_id=1))
        (error,) = records.named("redis.error")
        assert vars(error)["source"] == "auth"
    assert "wrong-password" not in str(caught.value) + str([vars(r) for r in records.all]) + repr(herd)


async def test_the_answers_of_begins_and_finishes_that_are_lost_run_nothing_twice_and_cost_nothing(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    """Connections are cut while many calls are under way, again and again: what was begun by a lost answer is put
    back, and what another call of the same lane has begun is not."""
    herd = make_herd(server.url)
    fences: Counter[int] = Counter()

    @herd.event("order.placed", concurrency=30, max_stalls=0)
    async def order_placed(order: Order) -> None:
        fences[order.order_id] += 1

    async with herd:
        await order_placed.emit_many([Order(order_id=i) for i in range(6000)])
        await herd.start()
        for ended in range(200, 5000, 400):
            await records.wait("event.end", count=ended)
            await asyncio.to_thread(server.command, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        queue = (await herd.backend()).queue(order_placed.declaration)

        async def drained() -> bool:
            try:
                counts = await queue.counts()
            except RedisUnavailable:
                return False  # the last cut is still being mended
            return counts["wait"] == counts["active"] == counts["delayed"] == 0

        await until(drained, deadline=40)
        assert (await queue.counts())["failed"] == 0
    assert set(fences.values()) == {1}
    assert len(fences) == 6000
    assert not records.named("event.end", outcome="lost")
