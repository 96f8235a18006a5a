"""`inline` runs handlers at the emit."""

from __future__ import annotations

import asyncio
import threading
from uuid import UUID

import pytest
from pydantic import BaseModel

from oxherd import Context, DeclarationError, Discard, Oxherd, UsageError
from oxherd.testing import inline


class Order(BaseModel):
    order_id: int


herd = Oxherd("redis://127.0.0.1:1", emit_timeout=0.1)
ran: list[object] = []


@herd.event("loop")
async def in_loop(order: Order, ctx: Context) -> None:
    await asyncio.sleep(0)
    if order.order_id < 0:
        raise ValueError(order.order_id)
    ran.append((ctx.event, order.order_id, ctx.id, ctx.caused_by))


@herd.event("thread")
def in_thread(order: Order) -> None:
    ran.append(threading.get_ident())
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


@herd.event("chain")
async def chain(order: Order, ctx: Context) -> None:
    ran.append(ctx.id)
    await in_loop.emit(order)


@herd.event("chain.sync")
def chain_sync(order: Order, ctx: Context) -> None:
    ran.append(ctx.id)
    in_loop.emit_sync(order)


@herd.event("blocks")
async def blocks(order: Order) -> None:
    in_loop.emit_sync(order)


@herd.event("blocks.from.thread")
def blocks_from_thread(order: Order) -> None:
    blocks.emit_sync(order)


@herd.event("discards")
def discards(order: Order) -> None:
    raise Discard("no such order")


unhandled = herd.declare("unhandled", Order)


@pytest.fixture(autouse=True)
def forget() -> None:
    ran.clear()


async def test_an_async_handler_runs_before_the_emit_returns() -> None:
    with inline(herd) as emits:
        emitted = await in_loop.emit(Order(order_id=7), delay=3600)
    assert ran == [("loop", 7, emitted.id, None)]
    emits.assert_emitted(in_loop, order_id=7)


def test_a_def_handler_runs_in_the_emitting_thread_without_an_event_loop() -> None:
    with inline(herd):
        in_thread.emit_sync(Order(order_id=1))
        in_thread.emit_many_sync([Order(order_id=1), Order(order_id=2)])
    assert ran == [threading.get_ident()] * 3


def test_an_async_handler_runs_under_emit_sync() -> None:
    with inline(herd):
        emitted = in_loop.emit_sync(Order(order_id=7))
    assert ran == [("loop", 7, emitted.id, None)]


async def test_what_a_handler_raises_the_emit_raises() -> None:
    with inline(herd):
        with pytest.raises(ValueError, match="-1"):
            await in_loop.emit(Order(order_id=-1))
        with pytest.raises(ValueError, match="-1"):
            await asyncio.to_thread(in_loop.emit_sync, Order(order_id=-1))
        with pytest.raises(Discard):
            await discards.emit(Order(order_id=1))


async def test_results_are_there_of_what_has_not_failed() -> None:
    with inline(herd) as emits:
        assert await (await in_loop.emit(Order(order_id=7))).result() is None
        with pytest.raises(ValueError, match="-1"):
            await in_loop.emit(Order(order_id=-1))
        with pytest.raises(UsageError, match="it failed, or its emit waits for the commit"):
            await in_loop.emitted(emits.emits[-1].id).result()


async def test_events_of_handlers_run_as_well_and_know_their_cause() -> None:
    with inline(herd):
        emitted = await chain.emit(Order(order_id=7))
    first, (event, _, second, caused_by) = ran[0], ran[1]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
    assert (first, event, caused_by) == (emitted.id, "loop", emitted.id)
    assert isinstance(second, UUID)


async def test_a_def_handler_may_emit_synchronously_wherever_it_was_emitted() -> None:
    with inline(herd):
        await chain_sync.emit(Order(order_id=7))
        await asyncio.to_thread(chain_sync.emit_sync, Order(order_id=8))
    assert len(ran) == 4


async def test_a_synchronous_emit_in_an_event_loop_is_refused_as_without_a_test_kit() -> None:
    with inline(herd):
        for call in (lambda: in_loop.emit_sync(Order(order_id=7)), lambda: in_loop.emit_many_sync([Order(order_id=7)])):
            with pytest.raises(UsageError, match="would block the event loop"):
                call()
        for event in (blocks, blocks_from_thread):
            with pytest.raises(UsageError, match="would block the event loop"):
                await event.emit(Order(order_id=7))
    assert ran == []


async def test_an_event_without_a_handler_here_is_refused() -> None:
    with inline(herd), pytest.raises(DeclarationError, match="no handler here"):
        await unhandled.emit(Order(order_id=1))


async def test_call_runs_a_def_handler_in_this_very_thread_and_refuses_a_coroutine() -> None:
    await asyncio.to_thread(lambda: in_thread.call(Order(order_id=1)))
    assert ran[0] != threading.get_ident()
    with pytest.raises(UsageError, match="await event"):
        in_loop.call(Order(order_id=1))
