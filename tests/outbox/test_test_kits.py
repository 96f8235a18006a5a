"""A test kit takes what is emitted by way of the outbox: in sync code at the commit, else after a flush."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from oxherd import Oxherd
from oxherd.outbox import Outbox
from oxherd.testing import captured, inline
from tests.outbox.conftest import MakeOutbox


def test_captured_has_what_is_committed(outbox: Outbox, engine: Engine) -> None:
    placed = outbox.herd.declare("order.placed", int)
    with captured(outbox.herd) as emits, Session(engine) as session:
        outbox.emit(session, placed, 1)
        session.rollback()
        outbox.emit(session, placed, 2, priority=3)
        emits.assert_not_emitted()
        session.commit()
        emits.assert_emitted(placed, 2)
    assert [each.priority for each in emits.emits] == [3]
    assert outbox.backlog_sync().waiting == 0


def test_captured_has_what_a_connection_commits(outbox: Outbox, engine: Engine) -> None:
    placed = outbox.herd.declare("order.placed", int)
    with captured(outbox.herd) as emits:
        with engine.begin() as connection:
            outbox.emit(connection, placed, 1)
            emits.assert_not_emitted()
        emits.assert_emitted(placed, 1)
    assert outbox.backlog_sync().waiting == 0


def test_inline_raises_from_the_commit_what_a_handler_raises(outbox: Outbox, engine: Engine) -> None:
    @outbox.herd.event("order.placed")
    def order_placed(number: int) -> None:
        raise RuntimeError("no such order")

    with inline(outbox.herd), Session(engine) as session:
        outbox.emit(session, order_placed, 1)
        with pytest.raises(RuntimeError, match="no such order"):
            session.commit()


# SQLite's driver commits at the end of a savepoint, unless it is told not to.
@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_a_test_may_roll_back_what_the_application_has_committed(outbox: Outbox, engine: Engine) -> None:
    placed = outbox.herd.declare("order.placed", int)
    with engine.connect() as connection:
        transaction = connection.begin()
        with captured(outbox.herd) as emits:
            session = Session(connection, join_transaction_mode="create_savepoint")
            outbox.emit(session, placed, 1)
            session.commit()
            session.close()
        emits.assert_emitted(placed, 1)
        transaction.rollback()
    assert outbox.backlog_sync().waiting == 0


def test_a_database_in_memory_will_do(make_outbox: MakeOutbox, local_herd: Oxherd) -> None:
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    outbox = make_outbox(local_herd, engine)
    placed = local_herd.declare("order.placed", int)
    with captured(local_herd) as emits, Session(engine) as session, session.begin():
        outbox.emit(session, placed, 1)
    emits.assert_emitted(placed, 1)
    engine.dispose()


async def test_in_an_event_loop_it_is_taken_once_flushed(async_outbox: Outbox, async_engine: AsyncEngine) -> None:
    placed = async_outbox.herd.declare("order.placed", int)
    with captured(async_outbox.herd) as emits:
        async with AsyncSession(async_engine) as session, session.begin():
            async_outbox.emit(session, placed, 1)
        assert await async_outbox.flush()
    emits.assert_emitted(placed, 1)
