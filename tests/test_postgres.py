"""The PostgreSQL that tests have."""

from __future__ import annotations

import psycopg
import pytest

from tests.postgres import PostgresServer

pytestmark = [pytest.mark.postgres, pytest.mark.slow]


def test_it_restarts_with_its_data_on_the_same_port(own_postgres: PostgresServer) -> None:
    name = own_postgres.create_database()
    own_postgres.restart()
    with psycopg.connect(own_postgres.dsn(name)) as connection:
        assert connection.execute("select current_database()").fetchone() == (name,)


def test_it_terminates_connections(own_postgres: PostgresServer) -> None:
    with psycopg.connect(own_postgres.dsn()) as connection:
        assert own_postgres.terminate_connections() == 1
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
