"""`Emitted.result` and `Emitted.status`: what became of an event, asked from anywhere."""

from __future__ import annotations

import asyncio
import pickle
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel

from oxherd import (
    Context,
    Discard,
    EventFailed,
    InvalidResult,
    Keep,
    Keyring,
    Oxherd,
    OxherdError,
    ResultGone,
    ResultTimeout,
    Retry,
    UsageError,
)
from oxherd.testing import captured, inline
from tests.harness import Records, until

ONCE = Retry(attempts=1)


class Order(BaseModel):
    number: int = 1
    customer: str = "a"


def customer(order: Order) -> str:
    return order.customer


class Receipt(BaseModel):
    number: int
    at: datetime = datetime(2026, 1, 2, tzinfo=UTC)


async def test_a_result_comes_back_as_its_type_whenever_it_is_asked_for(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed")
    async def order_placed(order: Order) -> Receipt:
        return Receipt(number=order.number)

    async with herd:
        early = await order_placed.emit_many([Order(number=n) for n in range(50)])
        waits = [asyncio.create_task(emitted.result(timeout=20)) for emitted in early]
        await until(lambda: asked(herd, early[-1].id))
        await herd.start()
        assert await asyncio.gather(*waits) == [Receipt(number=n) for n in range(50)]
        # Its answer is there for a minute, though the job is gone.
        assert await early[7].result() == Receipt(number=7)
        late = await order_placed.emit(Order(number=60))
        await records.wait("event.end", event_id=late.id)
        # Nobody had asked: the event stream still says.
        assert await order_placed.emitted(late.id).result() == Receipt(number=60)


async def asked(herd: Oxherd, event_id: UUID, event: str = "order.placed") -> bool:
    """Whether somebody waits for an event's answer."""
    queue = (await herd.backend()).queue(herd[event].declaration)
    return await queue.client.call(queue.keys.slot, "HGET", queue.keys.job(str(event_id)), "ox:asked") == b"1"


@pytest.mark.parametrize(("raises", "kind", "outcome"), [
    (ValueError("no such order"), "ValueError", "failed"),
    (Discard("not ours"), "Discard", "discarded"),
    (None, "TimedOut", "timed_out"),
])  # fmt: skip
@pytest.mark.parametrize("kept", [0, 10])
async def test_an_event_that_failed_says_with_what(
    raises: Exception | None, kind: str, outcome: str, kept: int, herd: Oxherd
) -> None:
    @herd.event("order.placed", retry=ONCE, timeout=0.05, keep=Keep(failed=kept))
    async def order_placed(order: Order) -> None:
        if raises is None:
            await asyncio.sleep(20)
        else:
            raise raises

    async with herd:
        emitted = await order_placed.emit(Order())
        wait = asyncio.create_task(emitted.result(timeout=20))
        await until(lambda: asked(herd, emitted.id))
        await herd.start()
        for asking in (wait, emitted.result(timeout=5)):
            with pytest.raises(EventFailed, match=kind) as failed:
                await asking
            assert (failed.value.error_type, failed.value.outcome) == (kind, outcome)
            assert raises is None or failed.value.reason == str(raises)
        status = await emitted.status()
        if kept:
            assert status is not None
            assert (status.state, status.outcome, status.attempt) == ("failed", outcome, 1)
            assert status.error is not None
            assert status.error.type == kind
        else:
            assert status is None


async def test_what_never_was_is_gone_at_once_and_a_deadline_is_kept(herd: Oxherd) -> None:
    event = herd.declare("order.placed", Order, result=Receipt)
    async with herd:
        began = time.monotonic()
        with pytest.raises(ResultGone, match="nothing is stored"):
            await event.emitted(uuid4()).result()
        assert time.monotonic() - began < 1
        emitted = await event.emit(Order())
        for timeout in (0, 0.2, timedelta(milliseconds=100)):
            began = time.monotonic()
            with pytest.raises(ResultTimeout, match="has not ended within") as late:
                await emitted.result(timeout=timeout)
            assert isinstance(late.value, TimeoutError)
            assert time.monotonic() - began < 1
        for bad in (-1, "1", float("nan")):
            with pytest.raises(UsageError, match="timeout must be a number of seconds"):
                await emitted.result(timeout=bad)  # pyright: ignore[reportArgumentType]
        for bad in (7, None, "", "a:b", b"x", "\ud800", "repeat:\udfff"):
            with pytest.raises(UsageError, match=r"emitted\(\) takes a uuid.UUID"):
                event.emitted(bad)  # pyright: ignore[reportArgumentType]


async def test_a_status_follows_an_event_through_its_states(herd: Oxherd) -> None:
    go, running = asyncio.Event(), asyncio.Event()

    @herd.event("order.placed", retry=Retry(attempts=3, delay=0.01), keep=Keep(completed=5))
    async def order_placed(order: Order, ctx: Context) -> str:
        if ctx.attempt == 1:
            raise ConnectionError("try again")
        await ctx.progress({"done": 7})
        running.set()
        await go.wait()
        return "x"

    async with herd:
        delayed = await order_placed.emit(Order(), delay=60)
        status = await delayed.status()
        assert status is not None
        assert (status.state, status.attempt, status.fence, status.worker) == ("delayed", 1, 0, None)
        assert status.emitted_at is not None
        assert status.due_at is not None
        assert abs((status.due_at - status.emitted_at).total_seconds() - 60) < 0.1
        emitted = await order_placed.emit(Order())
        status = await emitted.status()
        assert status is not None
        assert (status.state, status.paused, status.due_at) == ("waiting", False, None)
        await herd.start()
        await running.wait()
        status = await order_placed.emitted(emitted.id).status()
        assert status is not None
        assert (status.state, status.attempt, status.fence, status.progress) == ("running", 2, 2, {"done": 7})
        assert status.error is not None
        assert (status.error.type, status.error.message) == ("ConnectionError", "try again")
        assert status.worker is not None
        assert status.began_at is not None
        assert status.ended_at is None
        go.set()
        assert await emitted.result(timeout=20) == "x"
        status = await emitted.status()
        assert status is not None
        assert (status.state, status.attempt, status.error) == ("completed", 2, None)
        assert status.ended_at is not None
        assert await order_placed.emitted(uuid4()).status() is None


@pytest.mark.parametrize("key", [None, customer], ids=["by its id", "by a key"])
async def test_an_event_with_shards_is_found_by_its_id(
    key: Any, herd: Oxherd, make_herd: Callable[..., Oxherd], url: str
) -> None:
    @herd.event("order.placed", shards=4, key=key)
    async def order_placed(order: Order) -> int:
        return order.number

    async with herd:
        emitted = await order_placed.emit_many([Order(number=n, customer=str(n)) for n in range(20)])
        assert {status.state for each in emitted if (status := await each.status())} == {"waiting"}
        # A producer that knows of fewer shards finds them as well.
        other = make_herd(url)
        few = other.declare("order.placed", Order, shards=2, key=key, result=int)
        waits = [asyncio.create_task(few.emitted(each.id).result(timeout=20)) for each in emitted]
        await herd.start()
        assert await asyncio.gather(*(each.result(timeout=20) for each in emitted)) == list(range(20))
        assert await asyncio.gather(*waits) == list(range(20))
        await other.close()


async def test_a_sealed_events_result_is_sealed_and_opens_for_who_has_the_key(
    local_herd: Oxherd, make_herd: Callable[..., Oxherd], standalone: str
) -> None:
    ring = Keyring({"k": Keyring.generate()})

    @local_herd.event("order.placed", seal=ring.fields("customer"), keep=Keep(completed=10))
    async def order_placed(order: Order) -> Receipt:
        return Receipt(number=order.number)

    async with local_herd, make_herd(standalone) as keyless:
        await local_herd.start()
        emitted = await order_placed.emit(Order(number=7))
        assert await emitted.result(timeout=20) == Receipt(number=7)
        queue = (await local_herd.backend()).queue(order_placed.declaration)
        stored = await queue.client.call(queue.keys.slot, "HGET", queue.keys.job(str(emitted.id)), "returnvalue")
        assert b"oxherd:sealed" in stored
        assert b"number" not in stored
        with pytest.raises(InvalidResult, match="does not open here"):
            await keyless.declare("order.placed", Order).emitted(emitted.id).result()
        # Moved to another job, it does not open.
        other = await order_placed.emit(Order(number=8))
        await other.result(timeout=20)
        await queue.client.call(queue.keys.slot, "HSET", queue.keys.job(str(other.id)), "returnvalue", stored)
        await queue.client.call(queue.keys.slot, "DEL", queue.keys.answer(str(other.id)))
        with pytest.raises(InvalidResult, match="does not open here") as error:
            await other.result()
        assert "7" not in str(error.value).replace(str(other.id), "")


async def test_a_result_of_another_type_is_refused_without_its_value(
    local_herd: Oxherd, make_herd: Callable[..., Oxherd], standalone: str
) -> None:
    @local_herd.event("order.placed", keep=Keep(completed=10))
    async def order_placed(order: Order) -> Any:
        return {"number": "canary"}

    async with local_herd:
        await local_herd.start()
        emitted = await order_placed.emit(Order())
        assert await emitted.result(timeout=20) == {"number": "canary"}
        async with make_herd(standalone) as other:
            typed = other.declare("order.placed", Order, result=Receipt)
            with pytest.raises(InvalidResult, match="does not fit its type") as error:
                await typed.emitted(emitted.id).result()
            assert "canary" not in str(error.value)
            assert error.value.__cause__ is None


async def test_all_that_wait_share_one_connection_which_reads_nothing_once_nobody_waits(local_herd: Oxherd) -> None:
    @local_herd.event("order.placed")
    async def order_placed(order: Order) -> int:
        return order.number

    async with local_herd:
        client = (await local_herd.backend()).client
        emitted = await order_placed.emit_many([Order(number=n) for n in range(1000)])
        before = await connections(client)
        waits = [asyncio.create_task(each.result(timeout=20)) for each in emitted]
        await until(lambda: asked(local_herd, emitted[-1].id))
        await until(lambda: reading(client))
        assert await connections(client) == before + 1
        await local_herd.start()
        assert await asyncio.gather(*waits) == list(range(1000))
        await order_placed.emit(Order())  # ends the read that is under way
        await until(lambda: not_reading(client))


async def connections(client: Any) -> int:
    return len((await client.call(0, "CLIENT", "LIST")).splitlines())


async def reading(client: Any) -> bool:
    return any(b"cmd=xread " in line for line in (await client.call(0, "CLIENT", "LIST")).splitlines())


async def not_reading(client: Any) -> bool:
    """Whether nobody blocks on a stream."""
    lines = (await client.call(0, "CLIENT", "LIST")).splitlines()
    return not any(b"cmd=xread " in line and b"flags=b" in line for line in lines)


def test_synchronous_code_asks_as_well(local_herd: Oxherd) -> None:
    event = local_herd.declare("order.placed", Order, result=Receipt)
    emitted = event.emit_sync(Order())
    status = emitted.status_sync()
    assert status is not None
    assert status.state == "waiting"
    with pytest.raises(ResultTimeout):
        emitted.result_sync(timeout=0.05)
    local_herd.close_sync()


async def test_in_an_event_loop_the_synchronous_forms_are_refused(local_herd: Oxherd) -> None:
    event = local_herd.declare("order.placed", Order)
    with pytest.raises(UsageError, match="await result"):
        event.emitted(uuid4()).result_sync()


async def test_under_inline_the_result_is_there_at_once_and_under_captured_there_is_none() -> None:
    herd = Oxherd("redis://127.0.0.1:1")

    @herd.event("order.placed")
    async def order_placed(order: Order) -> Receipt:
        return Receipt(number=order.number)

    with inline(herd):
        assert await (await order_placed.emit(Order(number=3))).result() == Receipt(number=3)
        with pytest.raises(UsageError, match="inline"):
            await order_placed.emitted(uuid4()).result()
    with captured(herd):
        emitted = await order_placed.emit(Order())
        with pytest.raises(UsageError, match="inline"):
            await emitted.result()


async def test_a_damaged_key_is_told_and_holds_up_nobody_else(local_herd: Oxherd) -> None:
    event = local_herd.declare("order.placed", Order)
    async with local_herd:
        queue = (await local_herd.backend()).queue(event.declaration)
        emitted = await event.emit(Order())
        await queue.client.call(queue.keys.slot, "DEL", queue.keys.completed)
        await queue.client.call(queue.keys.slot, "SET", queue.keys.completed, "x")
        with pytest.raises(OxherdError, match="cannot be asked for"):
            await emitted.result(timeout=5)
        with pytest.raises(OxherdError, match="cannot be asked for"):
            await emitted.status()


async def test_an_emitted_event_may_be_a_result_and_is_not_pickled(local_herd: Oxherd) -> None:
    event = local_herd.declare("order.charged", Order)

    @local_herd.event("order.placed")
    async def order_placed(order: Order) -> Any:
        return await event.emit(order)

    async with local_herd:
        await local_herd.start()
        emitted = await order_placed.emit(Order())
        assert {"id", "event"} == set(await emitted.result(timeout=20))
        assert emitted == order_placed.emitted(emitted.id)
        assert hash(emitted) == hash(order_placed.emitted(emitted.id))
        assert repr(emitted) == f"Emitted(id={emitted.id!r}, event='order.placed')"
        with pytest.raises(TypeError, match="keep its id"):
            pickle.dumps(emitted)


async def test_other_hashes_of_a_queue_do_not_pass_for_jobs(local_herd: Oxherd) -> None:
    event = local_herd.declare("order.placed", Order)
    async with local_herd:
        await event.emit(Order())
        for name in ("meta", "wait", "events", "repeat:nightly", "x" * 512):
            assert await event.emitted(name).status() is None
            with pytest.raises(ResultGone):
                await event.emitted(name).result(timeout=5)
        queue = (await local_herd.backend()).queue(event.declaration)
        assert await queue.client.call(queue.keys.slot, "HEXISTS", queue.keys.meta, "ox:asked") == 0


async def test_a_result_that_has_no_json_is_none(local_herd: Oxherd, records: Records) -> None:
    @local_herd.event("order.placed")
    async def order_placed(order: Order) -> Receipt:
        return object()  # pyright: ignore[reportReturnType]

    async with local_herd:
        await local_herd.start()
        emitted = await order_placed.emit(Order())
        assert await emitted.result(timeout=20) is None
        assert records.named("result.dropped", event_id=emitted.id)
