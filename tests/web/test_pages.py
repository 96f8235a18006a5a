"""The programs of docs/fastapi.md and docs/flask.md, served as they stand there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oxherd import Oxherd
from tests.harness import PYTEST, WorkerProcess, run, until_sync
from tests.test_documented import DOCS, first_block
from tests.web.serving import ADA, BOB, UVICORN, serving, write_program

pytestmark = pytest.mark.slow

StartWorker = Callable[..., WorkerProcess]


def test_the_program_of_the_fastapi_page(
    tmp_path: Path, prefix: str, standalone: str, start_worker: StartWorker
) -> None:
    write_program(first_block("fastapi", "python"), tmp_path, prefix)
    with serving(tmp_path, UVICORN, standalone) as (client, _, _):
        placed = client.post("/orders", headers=ADA, json={"number": 7})
        assert placed.status_code == 202
        path = f"/events/{placed.json()['id']}"
        waiting = client.get(path, headers=ADA).json()
        assert (waiting["state"], waiting["result"]) == ("waiting", None)
        assert [client.get(path, headers=headers).status_code for headers in (BOB, {})] == [403, 401]
        worker = start_worker(url=standalone)

        def ended() -> dict[str, Any] | None:
            told = client.get(path, headers=ADA).json()
            return told if told["outcome"] else None

        assert until_sync(ended)["result"] == "order 7 charged in EUR"
        assert client.get(f"{path}/stream", headers=ADA).text.count("event: ended\n") == 1
        assert worker.stop() == 0


def test_the_program_of_the_flask_page(tmp_path: Path, prefix: str, standalone: str, start_worker: StartWorker) -> None:
    write_program(first_block("flask", "python"), tmp_path, prefix)
    with serving(tmp_path, ("flask", "run", "--port", "0"), standalone) as (client, _, _):
        worker = start_worker(url=standalone)
        placed = client.post("/orders", data={"number": "7"})
        assert placed.status_code == 202
        worker.wait("event.end", outcome="completed", event_id=placed.json()["id"])
        herd = Oxherd(standalone, prefix=prefix)
        emitted = herd.declare("order.placed", int, result=str).emitted(placed.json()["id"])
        assert emitted.outcome_sync() == "completed"
        assert emitted.result_sync(timeout=5) == "order 7 charged in EUR"
        herd.close_sync()
        assert worker.stop() == 0


def test_the_tests_of_the_fastapi_page_pass(tmp_path: Path) -> None:
    page = (DOCS / "fastapi.md").read_text()
    files = dict(re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE))
    assert set(files) == {"app.py", "test_app.py"}
    for name, text in files.items():  # httpx2 is what is installed here
        (tmp_path / name).write_text(text.replace("import httpx\n", "import httpx2 as httpx\n"))
    ran = run(tmp_path, *PYTEST, "-o", "asyncio_mode=auto")
    assert ran.returncode == 0, ran.stdout
    assert "4 passed" in ran.stdout
