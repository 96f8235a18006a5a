"""What is emitted in a transaction is sent after its commit, once, and not after its rollback."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import uuid4

import pytest
from pydantic import BaseModel
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from oxherd import DeclarationError, InvalidPayload, Keyring, Oxherd, PayloadTooLarge, Unique, UsageError
from oxherd.outbox import Outbox
from tests.harness import environment


class Order(BaseModel):
    number: int


def rows(outbox: Outbox, engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(outbox.table)).scalar_one()


def test_an_emit_is_sent_after_the_commit(outbox: Outbox, engine: Engine) -> None:
    placed = outbox.herd.declare("order.placed", Order)
    with Session(engine) as session:
        emitted = outbox.emit(session, placed, Order(number=7))
        session.flush()
        assert emitted.id.version == 7
        assert emitted.status_sync() is None
        session.commit()
    assert outbox.flush_sync()
    status = emitted.status_sync()
    assert status is not None
    assert status.state == "waiting"
    assert rows(outbox, engine) == 0


def test_a_rollback_emits_nothing(outbox: Outbox, engine: Engine) -> None:
    placed = outbox.herd.declare("order.placed", Order)
    with Session(engine) as session:
        rolled_back = [outbox.emit(session, placed, Order(number=number)) for number in (1, 2)]
        session.flush()
        session.rollback()
        kept = outbox.emit(session, placed, Order(number=3))
        session.commit()
        closed = outbox.emit(session, placed, Order(number=4))
    assert outbox.flush_sync()
    assert [each.status_sync() for each in (*rolled_back, closed)] == [None] * 3
    assert kept.status_sync() is not None


def test_a_savepoints_rollback_is_heeded(outbox: Outbox, engine: Engine) -> None:
    placed = outbox.herd.declare("order.placed", Order)
    with Session(engine) as session:
        before = outbox.emit(session, placed, Order(number=1))
        with session.begin_nested() as savepoint:
            inner = outbox.emit(session, placed, Order(number=2))
            session.flush()
            savepoint.rollback()
        with session.begin_nested():
            released = outbox.emit(session, placed, Order(number=3))
        assert released.status_sync() is None
        session.commit()
    assert outbox.flush_sync()
    assert inner.status_sync() is None
    assert before.status_sync() is not None
    assert released.status_sync() is not None


def test_what_a_savepoint_releases_is_not_sent_if_the_transaction_is_rolled_back(
    outbox: Outbox, engine: Engine
) -> None:
    placed = outbox.herd.declare("order.placed", Order)
    with Session(engine) as session:
        with session.begin_nested():
            released = outbox.emit(session, placed, Order(number=1))
        session.rollback()
        session.commit()
    assert outbox.flush_sync()
    assert released.status_sync() is None


def test_a_session_may_commit_again_and_again(outbox: Outbox, engine: Engine) -> None:
    placed = outbox.herd.declare("order.placed", Order)
    with Session(engine) as session:
        emitted = [each for number in range(3) if (each := outbox.emit(session, placed, Order(number=number)))]
        session.commit()
        emitted.append(outbox.emit(session, placed, Order(number=3)))
        session.commit()
    assert outbox.flush_sync()
    assert all(each.status_sync() for each in emitted)


def test_a_scoped_session_emits(outbox: Outbox, engine: Engine) -> None:
    placed = outbox.herd.declare("order.placed", Order)
    session = scoped_session(sessionmaker(engine))
    emitted = outbox.emit(session, placed, Order(number=1))
    session.commit()
    session.remove()
    assert outbox.flush_sync()
    assert emitted.status_sync() is not None


def test_a_connection_emits(outbox: Outbox, engine: Engine) -> None:
    placed = outbox.herd.declare("order.placed", Order)
    with engine.begin() as connection:
        emitted = outbox.emit(connection, placed, Order(number=1))
    with engine.connect() as connection:
        rolled_back = outbox.emit(connection, placed, Order(number=2))
        connection.rollback()
        inner = connection.begin_nested()
        inner_emit = outbox.emit(connection, placed, Order(number=3))
        inner.rollback()
        second = outbox.emit(connection, placed, Order(number=4))
        connection.commit()
    assert outbox.flush_sync()
    assert [each.status_sync() for each in (rolled_back, inner_emit)] == [None, None]
    assert all(each.status_sync() for each in (emitted, second))


def test_the_options_of_an_emit_hold(outbox: Outbox, engine: Engine) -> None:
    placed = outbox.herd.declare("order.placed", Order)
    chosen = uuid4()
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    with Session(engine) as session:
        delayed = outbox.emit(session, placed, Order(number=1), delay=timedelta(hours=1), expires=7200, id=chosen)
        at = outbox.emit(session, placed, Order(number=2), at=tomorrow, once=60, durable=False)
        ranked = outbox.emit(session, placed, Order(number=3), priority=5)
        session.commit()
    assert outbox.flush_sync()
    assert delayed.id == chosen
    first, second, third = delayed.status_sync(), at.status_sync(), ranked.status_sync()
    assert first is not None
    assert first.due_at is not None
    assert abs(first.due_at - datetime.now(UTC) - timedelta(hours=1)) < timedelta(minutes=1)
    assert second is not None
    assert second.due_at is not None
    assert abs(second.due_at - tomorrow) < timedelta(seconds=1)
    assert third is not None
    assert third.state == "waiting"


def test_what_does_not_fit_is_refused_and_nothing_is_written(outbox: Outbox, engine: Engine) -> None:
    placed = outbox.herd.declare("order.placed", Order, max_payload=20)
    with Session(engine) as session:
        with pytest.raises(InvalidPayload, match="number"):
            outbox.emit(session, placed, cast("Any", {"number": "many"}))
        with pytest.raises(PayloadTooLarge):
            outbox.emit(session, placed, Order(number=10**40))
        with pytest.raises(UsageError, match="delay"):
            outbox.emit(session, placed, Order(number=1), delay=-1)
        with pytest.raises(UsageError, match="prioritty"):
            outbox.emit(session, placed, Order(number=1), prioritty=1)  # pyright: ignore[reportCallIssue]
        session.flush()
        assert session.execute(select(func.count()).select_from(outbox.table)).scalar_one() == 0


def test_a_wrong_use_is_told_what_to_do(outbox: Outbox, engine: Engine, standalone: str) -> None:
    placed = outbox.herd.declare("order.placed", Order)
    with pytest.raises(UsageError, match="takes a Session"):
        outbox.emit(cast("Any", placed), placed, Order(number=1))
    other = Oxherd(standalone).declare("order.placed", Order)
    with Session(engine) as session, pytest.raises(UsageError, match="of the outbox's herd"):
        outbox.emit(session, other, Order(number=1))


def test_a_sealed_payload_is_sealed_in_the_table(outbox: Outbox, engine: Engine) -> None:
    placed = outbox.herd.declare("order.placed", Order, seal=Keyring({"k": Keyring.generate()}))
    with Session(engine) as session:
        outbox.emit(session, placed, Order(number=123456789))
        session.flush()
        stored = session.execute(select(outbox.table.c.payload)).scalar_one()
    assert "123456789" not in stored


def test_an_event_that_is_unique_is_so_when_it_is_sent(outbox: Outbox, engine: Engine) -> None:
    placed = outbox.herd.declare("order.placed", Order, unique=Unique(until="done", by=lambda order: order.number))
    with Session(engine) as session:
        emitted = [outbox.emit(session, placed, Order(number=number)) for number in (1, 1, 2)]
        session.commit()
    assert outbox.flush_sync()
    assert sum(each.status_sync() is not None for each in emitted) == 2


def test_without_sqlalchemy_the_error_says_what_to_install() -> None:
    script = "import sys; sys.modules['sqlalchemy'] = None; from oxherd.outbox import Outbox"
    ran = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=False)
    assert ran.stderr.endswith("ConfigError: SQLAlchemy is not installed; install oxherd[outbox].\n")


def test_an_outbox_takes_a_herd_and_an_engine(local_herd: Oxherd, engine: Engine) -> None:
    for arguments in ((engine, engine), (local_herd, "sqlite://")):
        with pytest.raises(DeclarationError, match="takes a herd and an engine"):
            Outbox(*cast("Any", arguments))


async def test_with_an_async_engine_the_sync_calls_say_what_to_await(async_outbox: Outbox) -> None:
    for call in (async_outbox.backlog_sync, async_outbox.flush_sync, async_outbox.close_sync):
        with pytest.raises(UsageError, match=r"await \w+\(\.\.\.\) in its event loop"):
            call()
