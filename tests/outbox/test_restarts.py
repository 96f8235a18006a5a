"""The database restarts, and ends connections, under load: nothing that was committed is lost or runs twice."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest
from sqlalchemy import create_engine, exc
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from oxherd import Oxherd
from oxherd.outbox import Outbox
from tests.harness import Records, until
from tests.outbox.conftest import async_url, sync_url
from tests.postgres import PostgresServer

pytestmark = pytest.mark.slow


async def test_a_restart_under_load_loses_no_event_of_a_sync_application(
    postgres: PostgresServer, local_herd: Oxherd, records: Records
) -> None:
    engine = create_engine(sync_url(postgres.dsn(postgres.create_database())))
    outbox = Outbox(local_herd, engine, grace=1)
    outbox.create_table_sync()
    runs: Counter[int] = Counter()
    committed: list[int] = []
    stopped = threading.Event()

    @local_herd.event("order.placed", concurrency=50)
    async def order_placed(number: int) -> None:
        runs[number] += 1

    def place(first: int) -> None:
        number = first
        while not stopped.is_set():
            number += 2
            try:
                with Session(engine) as session:
                    outbox.emit(session, order_placed, number)
                    session.commit()
            except exc.DBAPIError:  # as a request that fails; whether it was committed is not known
                stopped.wait(0.05)
            else:
                committed.append(number)

    threads = [threading.Thread(target=place, args=(first,)) for first in (0, 1)]
    async with local_herd:
        await local_herd.start()
        for thread in threads:
            thread.start()
        for disturb in (postgres.terminate_connections, postgres.restart, postgres.terminate_connections):
            before = len(committed)
            await until(lambda before=before: len(committed) > before + 50, deadline=60)
            disturb()
        before = len(committed)
        await until(lambda: len(committed) > before + 50, deadline=60)
        stopped.set()
        for thread in threads:
            thread.join()
        await until(lambda: all(runs[number] for number in committed), deadline=60)
        end = time.monotonic() + 60
        while (await outbox.backlog()).waiting:
            assert time.monotonic() < end
        await local_herd.stop()
    await outbox.close()
    engine.dispose()
    assert max(runs.values()) == 1


async def test_a_restart_under_load_loses_no_event_of_an_async_application(
    postgres: PostgresServer, local_herd: Oxherd
) -> None:
    engine = create_async_engine(async_url(postgres.dsn(postgres.create_database())))
    outbox = Outbox(local_herd, engine, grace=1)
    await outbox.create_table()
    runs: Counter[int] = Counter()
    committed: list[int] = []

    @local_herd.event("order.placed", concurrency=50)
    async def order_placed(number: int) -> None:
        runs[number] += 1

    async def place(count: int) -> None:
        for _ in range(count):
            number = len(committed)
            while True:
                try:
                    async with AsyncSession(engine) as session, session.begin():
                        outbox.emit(session, order_placed, number)
                except exc.DBAPIError:
                    number += 100_000  # whether the other was committed is not known
                    continue
                committed.append(number)
                break

    async with local_herd:
        await local_herd.start()
        for disturb in (postgres.terminate_connections, postgres.restart):
            await place(50)
            disturb()
        await place(50)
        await until(lambda: all(runs[number] for number in committed), deadline=60)
        await local_herd.stop()
        await outbox.close()
    await engine.dispose()
    assert max(runs.values()) == 1


def test_a_two_phase_commit_is_sent_after_its_second_phase(postgres: PostgresServer, local_herd: Oxherd) -> None:
    postgres.execute("alter system set max_prepared_transactions = 5")
    postgres.restart()
    engine = create_engine(sync_url(postgres.dsn(postgres.create_database())))
    outbox = Outbox(local_herd, engine)
    outbox.create_table_sync()
    placed = local_herd.declare("order.placed", int)
    with Session(engine, twophase=True) as session:
        emitted = outbox.emit(session, placed, 1)
        session.prepare()
        assert outbox.flush_sync()
        assert emitted.status_sync() is None
        session.commit()
        assert outbox.flush_sync()
        assert emitted.status_sync() is not None
        rolled_back = outbox.emit(session, placed, 2)
        session.prepare()
        session.rollback()
        assert outbox.flush_sync()
        assert rolled_back.status_sync() is None
    outbox.close_sync()
    local_herd.close_sync()
    engine.dispose()
