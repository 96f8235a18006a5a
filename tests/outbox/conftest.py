"""Databases for the outbox: SQLite in a file, and a PostgreSQL of the session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from oxherd import Oxherd
from oxherd.outbox import Outbox
from tests.postgres import PostgresServer


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new database, without the driver's name."""
    return new_database(request, tmp_path)


def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new database of the kind that the fixture's parameter says."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/app.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.dsn(server.create_database())


def sync_url(database: str) -> str:
    """For an Engine."""
    return database.replace("postgresql:", "postgresql+psycopg:")


def async_url(database: str) -> str:
    """For an AsyncEngine."""
    return sync_url(database).replace("sqlite:", "sqlite+aiosqlite:")


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    """An Engine of the database."""
    engine = create_engine(sync_url(database))
    yield engine
    engine.dispose()


@pytest.fixture
async def async_engine(database: str) -> AsyncIterator[AsyncEngine]:
    """An AsyncEngine of the database."""
    engine = create_async_engine(async_url(database))
    yield engine
    await engine.dispose()


MakeOutbox = Callable[..., Outbox]


@pytest.fixture
def make_outbox() -> Iterator[MakeOutbox]:
    """Makes outboxes with their table, and ends their threads."""
    made: list[Outbox] = []

    def make(herd: Oxherd, engine: Engine, **options: Any) -> Outbox:
        outbox = Outbox(herd, engine, **options)
        outbox.create_table_sync()
        made.append(outbox)
        return outbox

    yield make
    for outbox in made:
        outbox.close_sync()
        outbox.herd.close_sync()


@pytest.fixture
def outbox(local_herd: Oxherd, engine: Engine, make_outbox: MakeOutbox) -> Outbox:
    """An outbox on each kind of database."""
    return make_outbox(local_herd, engine)


@pytest.fixture
async def async_outbox(local_herd: Oxherd, async_engine: AsyncEngine) -> AsyncIterator[Outbox]:
    """An outbox for async code on each kind of database."""
    outbox = Outbox(local_herd, async_engine)
    await outbox.create_table()
    async with local_herd:
        yield outbox
        await outbox.close()
    assert "oxherd-outbox" not in {task.get_name() for task in asyncio.all_tasks()}
