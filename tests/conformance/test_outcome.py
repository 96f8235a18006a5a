"""`Emitted.outcome`: how an event ended, without waiting, also once it is no longer stored."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from oxherd import Context, Discard, Emitted, Keep, Oxherd, OxherdError, RedisUnavailable, Retry, UsageError
from oxherd.servers.standalone import StandaloneServer
from oxherd.testing import captured, inline
from tests.harness import until

ONCE = Retry(attempts=1)


async def ended(emitted: Emitted[Any]) -> Any:
    return await until(emitted.outcome)


async def handle(step: str, ctx: Context) -> None:
    match step:
        case "fail":
            raise ValueError("why")
        case "discard":
            raise Discard("why")
        case "wait":
            await asyncio.Event().wait()
        case _:
            pass


ENDS = {"succeed": "completed", "fail": "failed", "discard": "discarded", "wait": "timed_out"}


@pytest.mark.parametrize("keep", [Keep(), Keep(completed=0, failed=0), Keep(completed=None)])
async def test_it_is_the_logs_word_whether_or_not_the_event_is_kept(herd: Oxherd, keep: Keep) -> None:
    event = herd.event("order.placed", retry=ONCE, timeout=0.2, keep=keep)(handle)
    async with herd:
        emitted = {step: await event.emit(step) for step in ENDS}
        assert [await each.outcome() for each in emitted.values()] == [None] * len(ENDS)
        await herd.start()
        assert {step: await ended(each) for step, each in emitted.items()} == ENDS
        assert await event.emitted(uuid4()).outcome() is None


async def test_of_one_that_nobody_asked_for_while_it_was_stored_the_event_stream_tells(herd: Oxherd) -> None:
    event = herd.event("order.placed", retry=ONCE)(handle)
    async with herd:
        await herd.start()
        emitted = await event.emit("succeed")

        async def is_gone() -> bool:
            return await emitted.status() is None

        await until(is_gone)
        assert await emitted.outcome() == "completed"


async def test_one_that_was_cancelled_or_has_expired_is_told_as_such(herd: Oxherd) -> None:
    event = herd.event("order.placed", retry=ONCE)(handle)
    async with herd:
        cancelled, expired = await event.emit("succeed"), await event.emit("succeed", expires=0.01)
        await cancelled.cancel()
        assert await cancelled.outcome() == "cancelled"
        server_ms = (await herd.backend()).queue(event.declaration).server_ms
        emitted_ms = await server_ms()

        async def is_over() -> bool:
            return await server_ms() > emitted_ms + 10

        await until(is_over)
        await herd.start()
        assert await ended(expired) == "expired"


async def test_one_that_is_tried_again_or_emitted_again_has_not_ended(local_herd: Oxherd) -> None:
    event = local_herd.event("order.placed", retry=Retry(attempts=2, delay=3600))(handle)
    async with local_herd:
        await local_herd.start()
        failing, again = await event.emit("fail"), await event.emit("succeed")

        async def is_delayed() -> bool:
            status = await failing.status()
            return status is not None and status.state == "delayed"

        await until(is_delayed)
        assert await failing.outcome() is None
        await ended(again)
        await local_herd.stop()
        await event.emit("succeed", id=again.id)
        assert await again.outcome() is None


async def test_with_shards_all_are_asked(herd: Oxherd) -> None:
    event = herd.event("order.placed", retry=ONCE, shards=3, key=lambda step: step)(handle)
    async with herd:
        await herd.start()
        emitted = [await event.emit(f"step {number}") for number in range(5)]
        assert [await ended(each) for each in emitted] == ["completed"] * 5


async def test_on_a_queue_that_events_share_it_is_not_anothers_while_that_is_stored(local_herd: Oxherd) -> None:
    first = local_herd.event("order.placed", queue="orders", retry=ONCE)(handle)
    second = local_herd.declare("order.paid", str, queue="orders")
    async with local_herd:
        emitted = await first.emit("fail")
        await local_herd.start_events(["order.placed"])
        assert await ended(emitted) == "failed"
        assert await second.emitted(emitted.id).outcome() is None


async def test_while_redis_is_away_it_gives_up_in_time_and_a_damaged_key_is_told() -> None:
    with StandaloneServer() as server:
        herd = Oxherd(server.url, emit_timeout=0.5)
        event = herd.declare("order.placed", str)
        async with herd:
            emitted = await event.emit("succeed")
            keys = (await herd.backend()).queue(event.declaration).keys
            call = (await herd.backend()).client.call
            await call(keys.slot, "SET", keys.completed, "x")
            with pytest.raises(OxherdError, match="cannot be asked for"):
                await emitted.outcome()
            server.stop()
            with pytest.raises(RedisUnavailable):
                await emitted.outcome()


def test_synchronous_code_and_tests_ask_as_well(local_herd: Oxherd) -> None:
    event = local_herd.event("order.placed", retry=ONCE)(handle)
    assert event.emit_sync("succeed").outcome_sync() is None
    with inline(local_herd):
        assert event.emit_sync("succeed").outcome_sync() == "completed"
    with captured(local_herd), pytest.raises(UsageError, match="inline"):
        event.emit_sync("succeed").outcome_sync()
    local_herd.close_sync()
