"""`oxherd dashboard` as a process: where it listens, whom it lets in, and how it ends."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.harness import environment, until_sync

APP = """
from oxherd import Oxherd
herd = Oxherd(prefix={prefix!r})
herd.declare("order.placed", dict[str, int])
"""
TOKEN = "a-token-of-more-than-twenty-characters"


class Dashboard:
    """A process of the command, its output, and its address once it has said it."""

    def __init__(self, folder: Path, url: str, *options: str, **variables: str) -> None:
        self._log = folder / "log"
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "oxherd", "dashboard", "app:herd", *options],
                cwd=folder,
                env=environment(OXHERD_URL=url, **variables),
                stdout=output,
                stderr=output,
            )

    @property
    def said(self) -> str:
        return self._log.read_text()

    @property
    def address(self) -> str:
        return until_sync(lambda: re.search(r"^(http://\S+)/$", self.said, re.MULTILINE))[1]


@pytest.fixture
def serve(tmp_path: Path, standalone: str, prefix: str) -> Iterator[Callable[..., Dashboard]]:
    (tmp_path / "app.py").write_text(APP.format(prefix=prefix))
    started: list[Dashboard] = []

    def start(*options: str, url: str = standalone, **variables: str) -> Dashboard:
        started.append(Dashboard(tmp_path, url, *options, **variables))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
        each.process.wait()


def ask(address: str, request: bytes) -> bytes:
    """The answer to a request as it stands."""
    host, port = address.removeprefix("http://").rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while chunk := connection.recv(65_536):
            answer += chunk
        return answer


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_opens_on_loopback_and_ends_at_once_though_a_page_is_open(
    serve: Callable[..., Dashboard], number: signal.Signals
) -> None:
    served = serve("--bind", "127.0.0.1:0")
    with httpx2.Client(base_url=served.address, timeout=20, trust_env=False) as client:
        assert "order.placed" in client.get("/").text
        with client.stream("GET", "/?live=1") as stream:
            assert next(stream.iter_text())
            began = time.monotonic()
            served.process.send_signal(number)
            assert served.process.wait(60) == 0
            assert time.monotonic() - began < 3
    assert served.said.count("\n") == 1, served.said


def test_no_other_host_gets_in_by_whatever_request(serve: Callable[..., Dashboard]) -> None:
    served = serve("--bind", "127.0.0.1:0")
    address = served.address
    own = address.removeprefix("http://")
    for head, status in {
        f"GET / HTTP/1.1\r\nHost: {own}": b"200",
        "GET / HTTP/1.1\r\nHost: evil.example": b"421",
        "GET / HTTP/1.1\r\nHost: 127.0.0.1": b"421",
        f"GET http://evil.example/ HTTP/1.1\r\nHost: {own}": b"404",
        f"GET / HTTP/1.1\r\nHost: {own}\r\nHost: evil.example": b"4",
        f"GET / HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: {own}": b"421",
        f"GET / HTTP/1.0\r\nHost: {own}": b"403",
        "GET / HTTP/1.1": b"4",
    }.items():
        answer = ask(address, f"{head}\r\nConnection: close\r\n\r\n".encode())
        line = answer.split(b"\r\n", 1)[0]
        assert b" " + status in line, (head, answer[:200])


def test_a_token_file_says_who_may_look_and_act(serve: Callable[..., Dashboard], tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"vera viewer {TOKEN}-viewer\nolga operator {TOKEN}\n")
    tokens.chmod(0o600)
    served = serve("--bind", "127.0.0.1:0", "--token-file", str(tokens))
    with httpx2.Client(base_url=served.address, timeout=20, trust_env=False) as client:
        assert client.get("/").headers["location"] == "/login?next=%2F"
        for token, status in ((f"{TOKEN}-viewer", 403), (TOKEN, 303)):
            headers = {"Authorization": f"Bearer {token}"}
            assert client.get("/", headers=headers).status_code == 200
            answer = client.post("/actions/pause", data={"event": "order.placed"}, headers=headers)
            assert answer.status_code == status
        assert ">olga <" in client.get("/audit", headers=headers).text
    assert TOKEN not in served.said


def test_the_environment_may_hold_what_a_token_file_holds(serve: Callable[..., Dashboard]) -> None:
    tokens = f"vera viewer {TOKEN}-viewer\n{TOKEN}"
    served = serve("--bind", "0.0.0.0:0", "--allowed-host", "127.0.0.1", OXHERD_DASHBOARD_TOKENS=tokens)
    address = f"http://127.0.0.1:{served.address.rsplit(':', 1)[1]}"
    with httpx2.Client(base_url=address, timeout=20, trust_env=False) as client:
        assert client.get("/").status_code == 303
        for token, status in ((f"{TOKEN}-viewer", 403), (TOKEN, 303)):
            headers = {"Authorization": f"Bearer {token}"}
            answer = client.post("/actions/pause", data={"event": "order.placed"}, headers=headers)
            assert answer.status_code == status
    assert TOKEN not in served.said


@pytest.mark.parametrize("tokens", ["", "\n", "short", f"{TOKEN}\n{TOKEN}"])
def test_an_environment_without_usable_tokens_opens_nothing(serve: Callable[..., Dashboard], tokens: str) -> None:
    served = serve("--bind", "127.0.0.1:0", OXHERD_DASHBOARD_TOKENS=tokens)
    assert served.process.wait(60) == 2
    assert "OXHERD_DASHBOARD_TOKENS" in served.said
    assert served.said.count("\n") == 1, served.said


def test_tokens_from_two_sources_are_refused(serve: Callable[..., Dashboard]) -> None:
    served = serve("--bind", "127.0.0.1:0", "--token-file", "tokens", OXHERD_DASHBOARD_TOKENS=TOKEN)
    assert served.process.wait(60) == 2
    assert "give one of them" in served.said


def test_with_read_only_nobody_acts(serve: Callable[..., Dashboard]) -> None:
    served = serve("--bind", "127.0.0.1:0", "--read-only")
    with httpx2.Client(base_url=served.address, timeout=20, trust_env=False) as client:
        headers = {"Sec-Fetch-Site": "same-origin"}
        assert client.post("/actions/pause", data={"event": "order.placed"}, headers=headers).status_code == 403


def test_a_server_that_is_away_is_told_on_the_page(serve: Callable[..., Dashboard]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        served = serve("--bind", "127.0.0.1:0", url=f"redis://127.0.0.1:{free.getsockname()[1]}")
        with httpx2.Client(base_url=served.address, timeout=20, trust_env=False) as client:
            answer = client.get("/")
            assert (answer.status_code, "Redis does not answer" in answer.text) == (503, True)


REFUSED: list[tuple[list[str], int, str]] = [
    (["--bind", "0.0.0.0:0"], 2, "--token-file"),
    (["--bind", "192.0.2.7:8765"], 2, "--token-file"),
    (["--bind", "queues.example.com:8765"], 2, "--token-file"),
    (["--bind", "127.0.0.1:0", "--allowed-host", "queues.example.com"], 2, "--token-file"),
    (["--bind", "nonsense"], 2, "--bind takes HOST:PORT"),
    (["--bind", "127.0.0.1:99999"], 2, "--bind takes HOST:PORT"),
    (["--bind", "127.0.0.1:0", "--token-file", "none"], 2, "cannot be read"),
    (["--bind", "127.0.0.1:0", "--token-file", "tokens", "--allowed-host", "http://x"], 2, "--token-file"),
]


@pytest.mark.parametrize(("options", "status", "said"), REFUSED)
def test_what_would_leave_it_open_or_is_wrong_is_refused_in_a_line(
    serve: Callable[..., Dashboard], options: list[str], status: int, said: str
) -> None:
    served = serve(*options)
    assert served.process.wait(60) in (1, status)
    assert said in served.said
    assert served.said.count("\n") == 1, served.said


def test_all_addresses_need_a_name(serve: Callable[..., Dashboard], tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{TOKEN}\n")
    tokens.chmod(0o600)
    served = serve("--bind", "0.0.0.0:0", "--token-file", str(tokens))
    assert served.process.wait(60) == 2
    assert "--allowed-host" in served.said
    named: Any = serve("--bind", "0.0.0.0:0", "--token-file", str(tokens), "--allowed-host", "127.0.0.1")
    port = named.address.rsplit(":", 1)[1]
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as client:
        assert client.get("/").status_code == 303


def test_an_address_that_is_taken_is_told(serve: Callable[..., Dashboard]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        served = serve("--bind", f"127.0.0.1:{taken.getsockname()[1]}")
        assert served.process.wait(60) == 1
        assert "already in use" in served.said
