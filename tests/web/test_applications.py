"""The example applications: the real framework and server, a worker in another process, real HTTP."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2 as httpx
import psycopg
import pytest

from tests.harness import WorkerProcess, until_sync
from tests.postgres import PostgresServer
from tests.web.serving import ADA, BOB, GUNICORN, UVICORN, copy_example, serving

StartWorker = Callable[..., WorkerProcess]


def place(client: httpx.Client, count: int = 1) -> list[dict[str, Any]]:
    placed: list[dict[str, Any]] = []
    for _ in range(count):
        answer = client.post("/orders", headers=ADA)
        assert answer.status_code == 202, answer.text
        placed.append(answer.json())
    return placed


def done(client: httpx.Client, event_id: str) -> dict[str, Any] | None:
    """What is told of an event once it has ended."""
    answer = client.get(f"/events/{event_id}", headers=ADA)
    assert answer.status_code == 200, answer.text
    return answer.json() if answer.json()["outcome"] else None


def test_the_fastapi_application_tells_those_it_authorizes_how_their_event_goes(
    tmp_path: Path, prefix: str, standalone: str, start_worker: StartWorker
) -> None:
    copy_example("fastapi_app", tmp_path, prefix)
    with serving(tmp_path, UVICORN, standalone) as (client, _, _):
        (order,) = place(client)
        assert client.get(f"/events/{order['id']}", headers=ADA).json()["state"] == "waiting"
        for path in (f"/events/{order['id']}", f"/events/{order['id']}/stream", f"/events/{uuid4()}"):
            assert client.get(path, headers=BOB).status_code == 403
            assert client.get(path).status_code == 401
        with client.stream("GET", f"/events/{order['id']}/stream", headers=ADA) as updates:
            worker = start_worker(url=standalone)
            told = [json.loads(data) for data in re.findall(r"^data: (.*)$", updates.read().decode(), re.MULTILINE)]
        assert [each["kind"] for each in told] == ["began", "progress", "ended"]
        ended = done(client, order["id"])
        assert ended is not None
        assert (ended["event"], ended["state"], ended["result"]) == ("order.placed", "completed", "receipt for ada")
        assert client.post("/orders").status_code == 401
        assert "/events/{id}/stream" in client.get("/openapi.json").json()["paths"]
        assert worker.stop() == 0


@pytest.mark.slow
def test_the_fastapi_application_has_a_worker_of_its_own_in_development(
    tmp_path: Path, prefix: str, standalone: str
) -> None:
    copy_example("fastapi_app", tmp_path, prefix)
    with serving(tmp_path, UVICORN, standalone, WORKER="1") as (client, _, log):
        for order in place(client, 3):
            until_sync(lambda order=order: done(client, order["id"]))
    assert "Application shutdown complete" in log.read_text()


def charged(client: httpx.Client, order: dict[str, Any]) -> str:
    answer = client.get(f"/orders/{order['order']}", headers=ADA)
    assert answer.status_code == 200, answer.text
    return answer.json()["charged"]


def test_the_flask_application_emits_from_forked_processes_and_its_handler_has_its_context(
    tmp_path: Path, prefix: str, standalone: str, start_worker: StartWorker
) -> None:
    copy_example("flask_app", tmp_path, prefix)
    with serving(tmp_path, GUNICORN, standalone) as (client, _, log):
        worker = start_worker(url=standalone)
        for order in place(client, 4):
            until_sync(lambda order=order: charged(client, order) == "10 EUR")
        assert client.post("/orders").status_code == 401
        assert [client.get(f"/orders/{number}").status_code for number in (1, 99)] == [401, 401]
        assert client.get("/orders/1", headers=BOB).status_code == 404
        assert worker.stop() == 0
    assert "Traceback" not in log.read_text()


@pytest.mark.slow
def test_a_reload_of_the_server_lets_what_runs_in_it_end(tmp_path: Path, prefix: str, standalone: str) -> None:
    copy_example("fastapi_app", tmp_path, prefix)
    program = (tmp_path / "app.py").read_text()
    slow = program.replace(
        '    await ctx.progress({"done": 1, "of": 2})\n',
        '    await ctx.progress({"done": 1, "of": 2})\n    await __import__("asyncio").sleep(2)\n',
    )
    assert slow != program
    (tmp_path / "app.py").write_text(slow)
    with serving(tmp_path, (*UVICORN, "--reload"), standalone, WORKER="1") as (client, _, log):
        until_sync(lambda: log.read_text().count("Application startup complete") == 1, 60)
        (order,) = place(client)
        path = f"/events/{order['id']}"
        until_sync(lambda: client.get(path, headers=ADA).json()["state"] == "running")
        (tmp_path / "app.py").write_text(slow + "\n# changed\n")
        until_sync(lambda: log.read_text().count("Application startup complete") == 2, 60)
        ended = until_sync(lambda: done(client, order["id"]))
    assert ended["state"] == "completed"
    assert ended["result"] == "receipt for ada"


@pytest.mark.slow
def test_each_of_several_processes_of_a_server_may_be_a_worker_and_an_event_runs_once(
    tmp_path: Path, prefix: str, standalone: str
) -> None:
    copy_example("fastapi_app", tmp_path, prefix)
    with serving(tmp_path, (*UVICORN, "--workers", "2"), standalone, WORKER="1") as (client, _, log):
        until_sync(lambda: log.read_text().count("Application startup complete") == 2, 60)
        for order in place(client, 10):
            until_sync(lambda order=order: done(client, order["id"]))
    text = log.read_text()
    assert text.count("Application shutdown complete") == 2, text


@pytest.mark.slow
def test_an_application_that_emits_while_it_is_loaded_emits_in_forked_processes_as_well(
    tmp_path: Path, prefix: str, standalone: str, start_worker: StartWorker
) -> None:
    copy_example("flask_app", tmp_path, prefix)
    program = tmp_path / "app.py"
    loaded = "\nif 'gunicorn' in __import__('sys').modules:\n    order_placed.emit_sync(Placed(order_id=0))\n"
    program.write_text(program.read_text() + loaded)
    with serving(tmp_path, GUNICORN, standalone) as (client, _, _):
        worker = start_worker(url=standalone)
        for order in place(client, 4):
            until_sync(lambda order=order: charged(client, order) == "10 EUR")
    worker.stop()
    assert len({each["event_id"] for each in worker.records() if each["msg"] == "event.begin"}) == 5


# -- a database that is restarted, and whose connections are terminated, under load


class Load:
    """Clients that place orders without a pause until they are told to end; what was accepted, and other answers."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self._ends = threading.Event()
        self.accepted: list[str] = []
        self.refused: list[int] = []
        self._pool = ThreadPoolExecutor(3)
        self._clients = [self._pool.submit(self._place) for _ in range(3)]

    def _place(self) -> None:
        while not self._ends.is_set():
            try:
                answer = self._client.post("/orders", headers=ADA)
            except httpx.TransportError:  # uvicorn closes a connection on which an error was answered
                continue
            if answer.status_code == 202:
                self.accepted.append(str(answer.json().get("order") or answer.json()["id"]))
            else:  # the database was away, and the client has been told so
                self.refused.append(answer.status_code)

    def more(self) -> None:
        """Wait until more have been accepted."""
        wanted = len(self.accepted) + 60
        until_sync(lambda: len(self.accepted) >= wanted or any(each.done() for each in self._clients), 60)

    def end(self) -> None:
        self._ends.set()
        self._pool.shutdown()
        for each in self._clients:
            each.result()


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.parametrize(("name", "command"), [("fastapi_app", UVICORN), ("flask_app", GUNICORN)])
def test_a_database_that_ends_its_connections_or_restarts_costs_no_event_more_than_the_attempts_it_broke(
    tmp_path: Path,
    prefix: str,
    standalone: str,
    start_worker: StartWorker,
    own_postgres: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    command: tuple[str, ...],
) -> None:
    database = own_postgres.dsn(own_postgres.create_database())
    monkeypatch.setenv("DATABASE_URL", database.replace("postgresql:", "postgresql+psycopg:"))
    copy_example(name, tmp_path, prefix)
    worker = start_worker(url=standalone)
    with serving(tmp_path, command, standalone) as (client, _, _):
        load = Load(client)
        try:
            load.more()
            for _ in range(3):
                assert own_postgres.terminate_connections() > 0
                load.more()
            retries = Counter(each["event_id"] for each in worker.records() if each.get("outcome") == "retrying")
            own_postgres.restart()
            load.more()
        finally:
            load.end()
        worker.wait("event.end", len(load.accepted), 60, outcome="completed")
    assert worker.stop() == 0
    assert worker.count("event.end", outcome="failed") == 0
    # Of three terminations each may have broken one attempt, and nothing else did.
    assert max(retries.values(), default=0) <= 3
    assert set(load.refused) <= {500}
    with psycopg.connect(database) as connection:
        rows = connection.execute("select id, attempts from orders").fetchall()
    charged_in = {str(order): attempt for order, attempt in rows}
    assert all(charged_in[order] > 0 for order in load.accepted)
