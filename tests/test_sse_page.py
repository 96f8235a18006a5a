"""The program of docs/sse.md, served by uvicorn as it stands there."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from tests.harness import environment, until_sync

PAGE = (Path(__file__).parents[1] / "docs" / "sse.md").read_text()
ADA, BOB = {"Cookie": "session=a-session-of-ada"}, {"Cookie": "session=a-session-of-bob"}


@contextmanager
def serving(folder: Path, program: str, url: str) -> Generator[tuple[str, subprocess.Popen[bytes]]]:
    """The program's address and its process, which ends by itself once it is told to."""
    (folder / "app.py").write_text(program)
    (limit,) = re.findall(r"`uvicorn app:app (--timeout-graceful-shutdown) 5`", PAGE)
    log = folder / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "app:app", "--port", "0", limit, "1"],
            cwd=folder,
            env=environment(OXHERD_URL=url),
            stderr=output,
            stdout=output,
        )
    try:
        running = until_sync(lambda: re.search(r"running on (http://\S+)", log.read_text()))
        yield running[1], server
        server.terminate()
        assert server.wait(20) in (0, -signal.SIGTERM), log.read_text()
        assert "Application shutdown complete" in log.read_text()
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()


@pytest.fixture
def program(prefix: str) -> str:
    (program,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return program.replace("Oxherd()", f"Oxherd(prefix={prefix!r})")


def place_order(client: httpx.Client) -> str:
    response = client.post("/orders", headers=ADA)
    assert response.status_code == 202
    return response.json()["id"]


def follow(client: httpx.Client, event_id: str) -> list[dict[str, Any]]:
    with client.stream("GET", f"/orders/{event_id}/updates", headers=ADA) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        text = "".join(response.iter_text())
    return [json.loads(data) for data in re.findall(r"^data: (.*)$", text, re.MULTILINE)]


def connected(address: str) -> httpx.Client:
    return httpx.Client(base_url=address, timeout=20, trust_env=False)


def test_the_program_of_the_page_streams_to_those_it_authorizes(tmp_path: Path, program: str, standalone: str) -> None:
    with serving(tmp_path, program, standalone) as (address, _), connected(address) as client:
        event_id = place_order(client)
        for headers in ({}, BOB):
            refused = client.get(f"/orders/{event_id}/updates", headers=headers)
            assert (refused.status_code, refused.text) == (403, "Forbidden")
        told = follow(client, event_id)
        assert [each["kind"] for each in told] == ["began"] + ["progress"] * (len(told) - 2) + ["ended"]
        assert told[-2:] == [
            {"kind": "progress", "progress": {"done": 3, "of": 3}, "outcome": None},
            {"kind": "ended", "progress": None, "outcome": "completed"},
        ]
        assert "new EventSource" in client.get("/").text
        assert client.post("/orders").status_code == 401


def test_the_server_ends_while_a_stream_is_open(tmp_path: Path, program: str, standalone: str) -> None:
    never_begun = program.replace("await herd.start()", "pass")
    with serving(tmp_path, never_begun, standalone) as (address, server), connected(address) as client:
        path = f"/orders/{place_order(client)}/updates"
        with client.stream("GET", path, headers=ADA) as response:
            chunks = response.iter_raw()
            assert next(chunks).startswith(b"retry: ")
            server.terminate()
            server.wait(20)
