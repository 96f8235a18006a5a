"""As in `test_emits.py`, for code in an event loop."""

from __future__ import annotations

import asyncio
import gc
import warnings
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from oxherd import Context, Oxherd, UsageError
from oxherd.outbox import Outbox
from oxherd.outbox.rows import columns_of
from tests.harness import Records
from tests.outbox.conftest import async_url


async def test_an_emit_is_sent_after_the_commit(async_outbox: Outbox, async_engine: AsyncEngine) -> None:
    placed = async_outbox.herd.declare("order.placed", int)
    async with AsyncSession(async_engine) as session:
        emitted = async_outbox.emit(session, placed, 7)
        await session.flush()
        assert await emitted.status() is None
        await session.commit()
    assert await async_outbox.flush()
    assert await emitted.status() is not None
    assert (await async_outbox.backlog()).waiting == 0


async def test_rollbacks_of_transactions_and_savepoints_are_heeded(
    async_outbox: Outbox, async_engine: AsyncEngine
) -> None:
    placed = async_outbox.herd.declare("order.placed", int)
    async with AsyncSession(async_engine) as session:
        rolled_back = async_outbox.emit(session, placed, 1)
        await session.rollback()
        kept = async_outbox.emit(session, placed, 2)
        savepoint = await session.begin_nested()
        inner = async_outbox.emit(session, placed, 3)
        await savepoint.rollback()
        async with session.begin_nested():
            released = async_outbox.emit(session, placed, 4)
        await session.commit()
    assert await async_outbox.flush()
    assert [await each.status() for each in (rolled_back, inner)] == [None, None]
    assert all([await each.status() for each in (kept, released)])


async def test_a_connection_emits_within_run_sync(async_outbox: Outbox, async_engine: AsyncEngine) -> None:
    placed = async_outbox.herd.declare("order.placed", int)
    async with async_engine.begin() as connection:
        with pytest.raises(UsageError, match="run_sync"):
            async_outbox.emit(connection, placed, 1)  # pyright: ignore[reportCallIssue, reportArgumentType]
        emitted = await connection.run_sync(lambda sync: async_outbox.emit(sync, placed, 1))
    assert await async_outbox.flush()
    assert await emitted.status() is not None


async def test_emits_of_many_tasks_are_all_sent(async_outbox: Outbox, async_engine: AsyncEngine) -> None:
    placed = async_outbox.herd.declare("order.placed", int)

    async def place(number: int) -> UUID:
        async with AsyncSession(async_engine) as session, session.begin():
            return async_outbox.emit(session, placed, number).id

    ids = await asyncio.gather(*(place(number) for number in range(20)))
    assert await async_outbox.flush()
    assert all([await placed.emitted(each).status() for each in ids])


async def test_a_handler_emits_what_it_has_caused(
    async_outbox: Outbox, async_engine: AsyncEngine, records: Records
) -> None:
    herd = async_outbox.herd
    seen: list[tuple[UUID | None, int]] = []

    @herd.event("order.placed")
    async def order_placed(number: int, ctx: Context) -> None:
        async with AsyncSession(async_engine) as session, session.begin():
            async_outbox.emit(session, order_mailed, number + 1)

    @herd.event("order.mailed")
    async def order_mailed(number: int, ctx: Context) -> None:
        seen.append((ctx.caused_by, number))

    await herd.start()
    first = await order_placed.emit(7)
    await records.wait("event.end", event="order.mailed")
    await herd.stop()
    assert seen == [(first.id, 8)]


def test_a_loop_that_ends_leaves_the_rest_to_the_workers(database: str) -> None:
    herd = Oxherd("redis://127.0.0.1:1", emit_timeout=60)  # nobody listens there
    placed = herd.declare("order.placed", int)
    engine = create_async_engine(async_url(database))
    outbox = Outbox(herd, engine)

    async def place() -> None:
        await outbox.create_table()
        async with AsyncSession(engine) as session, session.begin():
            outbox.emit(session, placed, 1)
        assert not await outbox.flush(0.1)
        await engine.dispose()

    async def count() -> int:
        waiting = (await outbox.backlog()).waiting
        await engine.dispose()
        return waiting

    with warnings.catch_warnings():
        # The loop's end cuts off the attempt to send, and aiosqlite says of its connection that nobody closed it.
        warnings.simplefilter("ignore", ResourceWarning)
        asyncio.run(place())
        gc.collect()
    assert asyncio.run(count()) == 1


async def test_a_worker_sweeps_with_an_async_engine(
    async_engine: AsyncEngine, local_herd: Oxherd, records: Records
) -> None:
    outbox = Outbox(local_herd, async_engine, grace=0.1)
    await outbox.create_table()

    @local_herd.event("order.placed")
    async def order_placed(number: int) -> None: ...

    message = order_placed.message(7)
    async with async_engine.begin() as connection:
        await connection.execute(outbox.table.insert(), columns_of(message))
    async with local_herd:
        await local_herd.start()
        await records.wait("event.end", event_id=message.id, outcome="completed")
        await local_herd.stop()
        await outbox.close()
    assert (await outbox.backlog()).waiting == 0
