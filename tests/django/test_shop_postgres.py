"""PostgreSQL restarts, and ends connections, under the example project."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.django.shop import Shop
from tests.postgres import PostgresServer

pytestmark = [pytest.mark.slow, pytest.mark.postgres]
PATIENCE = 60


@pytest.fixture
def shop(tmp_path: Path, standalone: str, prefix: str, own_postgres: PostgresServer) -> Iterator[Shop]:
    address = f"{own_postgres.host}:{own_postgres.port}/{own_postgres.create_database()}"
    with Shop(tmp_path, standalone, prefix, postgres=address) as shop:
        shop.migrate()
        shop.serve("gunicorn", "project.wsgi", "--bind", "127.0.0.1:0", "--threads", "4")
        shop.start_worker()
        yield shop


def place(shop: Shop, number: int) -> list[str]:
    """Order from four threads; the events of the orders that were accepted."""

    def one(_: int) -> httpx.Response:
        return shop.place()

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(one, range(number)))
    return [answer.json()["event"] for answer in answers if answer.status_code == 202]


def attempts(shop: Shop, events: list[str]) -> Counter[int]:
    """How many of the events took how many attempts; each has completed."""
    wanted = set(events)
    completed = {
        record["event_id"]: record["attempt"]
        for record in shop.wait("event.end", len(events), PATIENCE, outcome="completed")
        if record["event_id"] in wanted
    }
    assert completed.keys() == wanted
    return Counter(completed.values())


def test_an_idle_workers_connections_are_replaced_before_an_event_pays(
    shop: Shop, own_postgres: PostgresServer
) -> None:
    events = place(shop, 40)
    assert attempts(shop, events) == {1: 40}
    for disturb in (own_postgres.restart, own_postgres.terminate_connections, own_postgres.restart):
        disturb()
        events += place(shop, 28)  # some are refused: Django tries gunicorn's own connections only after an error
        shop.wait("event.end", len(events), PATIENCE, outcome="completed")
    assert not shop.records("event.end", outcome="retrying")
    assert not shop.records("event.end", outcome="failed")


def test_under_load_no_event_pays_more_than_the_attempt_that_was_broken(
    shop: Shop, own_postgres: PostgresServer
) -> None:
    with ThreadPoolExecutor(1) as thread:
        placing = thread.submit(place, shop, 600)
        shop.wait("event.end", 100, PATIENCE, outcome="completed")
        own_postgres.terminate_connections()
        events = placing.result()
    assert set(attempts(shop, events)) <= {1, 2}
    with ThreadPoolExecutor(1) as thread:
        placing = thread.submit(place, shop, 600)
        shop.wait("event.end", len(events) + 100, PATIENCE, outcome="completed")
        own_postgres.restart()
        more = placing.result()
    attempts(shop, events + more)
    assert not shop.records("event.end", outcome="failed")
