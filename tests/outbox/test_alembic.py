"""The migration of the documentation makes the table that the outbox uses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Engine, MetaData, inspect
from sqlalchemy.orm import Session

from oxherd import Oxherd
from oxherd.outbox import Outbox
from tests.outbox.conftest import MakeOutbox

PAGE = Path(__file__).parents[2] / "docs" / "outbox.md"

# As `alembic init` writes it, without the logging, and with what the page says of the metadata.
ENV = """
from alembic import context

config = context.config
with config.attributes["engine"].connect() as connection:
    context.configure(connection=connection, target_metadata=config.attributes["target_metadata"])
    with context.begin_transaction():
        context.run_migrations()
"""


def alembic(folder: Path, engine: Engine, outbox: Outbox) -> Config:
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text(ENV)
    (folder / "script.py.mako").write_text(
        "revision = ${repr(up_revision)}\ndown_revision = None\ndef upgrade():\n    ${upgrades}\n"
    )
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    config.attributes |= {"engine": engine, "target_metadata": [MetaData(), outbox.metadata]}
    return config


def test_the_documented_migration_makes_the_table(
    tmp_path: Path, local_herd: Oxherd, engine: Engine, make_outbox: MakeOutbox
) -> None:
    outbox = Outbox(local_herd, engine)
    migrations = [
        text for text in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "op.create_table" in text
    ]
    config = alembic(tmp_path / "migrations", engine, outbox)
    (tmp_path / "migrations" / "versions" / "outbox.py").write_text(migrations[0])
    command.upgrade(config, "head")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, outbox.metadata) == []
    placed = local_herd.declare("order.placed", int)
    made = make_outbox(local_herd, engine)  # which creates no table, since there is one
    with Session(engine) as session, session.begin():
        emitted = made.emit(session, placed, 1)
    assert made.flush_sync()
    assert emitted.status_sync() is not None
    command.downgrade(config, "base")
    assert not inspect(engine).has_table("oxherd_outbox")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_revision_that_is_generated_has_the_table(tmp_path: Path, local_herd: Oxherd, engine: Engine) -> None:
    outbox = Outbox(local_herd, engine, table="events_to_send")
    config = alembic(tmp_path / "migrations", engine, outbox)
    command.revision(config, "outbox", autogenerate=True)
    (revision,) = (tmp_path / "migrations" / "versions").glob("*.py")
    assert "op.create_table('events_to_send'" in revision.read_text()
