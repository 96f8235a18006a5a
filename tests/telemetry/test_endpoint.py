"""`oxherd worker --health`: what a probe and a scrape get from one worker, and from several."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from oxherd import Oxherd
from oxherd.errors import ConfigError
from oxherd.servers.ports import free_ports
from oxherd.servers.standalone import StandaloneServer
from oxherd.telemetry.http.endpoint import Address, parse_address, serving
from oxherd.telemetry.http.health_source import ProcessSource
from tests.harness import WorkerProcess, cli, until_sync
from tests.telemetry.support import ask, documented, samples, value

HEALTH = {"live", "ready", "reasons", "events", "blocked_seconds", "stuck", "outages", "stopping", "paused"}
APP = """
import time
from oxherd import Context, Oxherd

herd = Oxherd(prefix=PREFIX)

@herd.event("order.placed")
async def placed(order: dict[str, int]) -> None:
    time.sleep(order.get("blocks", 0))
"""

Start = Callable[..., tuple[WorkerProcess, int]]


@pytest.fixture
def app(tmp_path: Path, prefix: str) -> Path:
    (tmp_path / "app.py").write_text(APP.replace("PREFIX", repr(prefix)))
    return tmp_path


@pytest.fixture
def start(app: Path, start_worker: Callable[..., WorkerProcess]) -> Start:
    def start(url: str, *arguments: str) -> tuple[WorkerProcess, int]:
        [port] = free_ports(1)
        return start_worker("--health", f"127.0.0.1:{port}", *arguments, url=url), port

    return start


def emit(folder: Path, url: str, *payloads: str) -> None:
    done = cli(folder, "emit", "app:herd", "order.placed", "-", url=url, stdin="\n".join(payloads) + "\n")
    assert done.returncode == 0, done.stderr


def test_a_worker_answers_probes_and_scrapes_and_nothing_else(standalone: str, app: Path, start: Start) -> None:
    worker, port = start(standalone)
    until_sync(lambda: ask(port, "/ready").status == 200)
    emit(app, standalone, '{"a": 3133731337}')
    worker.wait("event.end")
    live = ask(port, "/live?verbose=1")
    assert (live.status, live.json["live"], live.json["reasons"]) == (200, True, [])
    assert live.json.keys() == HEALTH
    assert live.headers is not None
    assert (live.headers["Content-Type"], live.headers["Server"]) == ("application/json", "oxherd")
    head = ask(port, "/live", "HEAD")
    assert (head.status, head.body) == (200, "")
    assert (ask(port, "/").status, ask(port, "/live/").status, ask(port, "/../app.py").status) == (404, 404, 404)
    assert {ask(port, "/live", method).status for method in ("POST", "PUT", "DELETE", "OPTIONS", "NONSENSE")} == {405}
    metrics = ask(port, "/metrics")
    assert metrics.headers is not None
    assert metrics.headers["Content-Type"].startswith("text/plain; version=")
    assert value(metrics.body, "oxherd_events_ended_total", outcome="completed") == 1
    assert "3133731337" not in metrics.body
    assert worker.stop() == 0
    assert ask(port, "/live").status == 0
    # Neither a request nor a lost connection is logged.
    assert {record["msg"] for record in worker.records()} <= {
        f"health endpoint at http://127.0.0.1:{port}", "worker.start", "worker.stop", "event.begin", "event.end",
    }  # fmt: skip


def test_the_documented_metrics_are_what_a_worker_gives_with_these_labels(
    standalone: str, app: Path, start: Start
) -> None:
    worker, port = start(standalone)
    emit(app, standalone, "{}")
    worker.wait("event.end")
    text = ask(port, "/metrics").body
    told = documented()
    assert len(told) > 20
    assert set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)) == set(told)
    for name, labels, _ in samples(text):
        base = name if name in told else re.sub("_(bucket|count|sum)$", "", name)
        assert set(labels) - {"le"} == told[base], name
    assert worker.stop() == 0


@pytest.mark.slow
def test_a_worker_whose_loop_is_blocked_is_not_live_and_says_so(standalone: str, app: Path, start: Start) -> None:
    worker, port = start(standalone)
    emit(app, standalone, '{"blocks": 13}')
    worker.wait("event.begin")
    until_sync(lambda: ask(port, "/live").json["reasons"])
    assert ask(port, "/live").status == 200  # for ten seconds
    began = time.monotonic()
    text = ask(port, "/metrics").body
    assert time.monotonic() - began < 3
    assert (value(text, "oxherd_up"), value(text, "oxherd_live")) == (0, 1)
    assert value(text, "oxherd_loop_blocks_total") == 1
    until_sync(lambda: ask(port, "/live").status == 503)
    refused = ask(port, "/live").json
    assert refused["live"] is False
    assert refused["reasons"][0].startswith("The event loop has been blocked for 1")
    assert ask(port, "/ready").status == 503
    worker.wait("event.end")
    worker.wait("worker.unblocked")
    until_sync(lambda: ask(port, "/live").status == 200)
    assert (value(ask(port, "/metrics").body, "oxherd_loop_blocked_seconds_total") or 0) > 12


def test_an_outage_of_redis_is_no_reason_to_restart_and_no_password_is_shown(start: Start, app: Path) -> None:
    with StandaloneServer() as server:
        # A server that has no such user refuses the password; one that is away is not told it.
        _, port = start(f"redis://oxherd:pass-w0rd@127.0.0.1:{server.port}")
        until_sync(lambda: ask(port, "/ready").status == 503 and ask(port, "/ready").json["outages"])
        server.terminate()
        live, ready, metrics = ask(port, "/live"), ask(port, "/ready"), ask(port, "/metrics")
    assert (live.status, ready.status, metrics.status) == (200, 503, 200)
    assert live.json["reasons"] == [f"Redis at 127.0.0.1:{server.port} does not serve us; see redis.error in the log."]
    assert value(metrics.body, "oxherd_redis_up", node=f"127.0.0.1:{server.port}") == 0
    assert not [answer for answer in (live, ready, metrics) if "pass-w0rd" in answer.body]


def test_a_worker_that_stops_is_live_and_not_ready(standalone: str, app: Path, start: Start) -> None:
    worker, port = start(standalone)
    until_sync(lambda: ask(port, "/ready").status == 200)
    emit(app, standalone, '{"blocks": 2}')
    worker.wait("event.begin")
    worker.signal(signal.SIGTERM)
    seen: list[tuple[int, int, Any]] = []

    def stopping() -> bool:
        live, ready = ask(port, "/live"), ask(port, "/ready")
        if ready.status == 503:
            seen.append((live.status, ready.status, ready.json["stopping"]))
        return ready.status == 0

    until_sync(stopping, every=0.001)
    assert worker.exit() == 0
    assert {status for status, *_ in seen} <= {200, 0}


@pytest.mark.slow
def test_several_workers_are_one_live_only_if_each_is(standalone: str, app: Path, start: Start) -> None:
    supervisor, port = start(standalone, "--processes", "2")
    until_sync(lambda: ask(port, "/ready").status == 200)
    health = ask(port, "/live").json
    assert health.keys() == HEALTH | {"processes"}
    first, second = (each["pid"] for each in health["processes"])
    assert {first, second}.isdisjoint({supervisor.process.pid})
    emit(app, standalone, *["{}"] * 40)
    supervisor.wait("event.end", 40)
    done = {"outcome": "completed", "event": "order.placed"}
    assert value(ask(port, "/metrics").body, "oxherd_events_ended_total", **done) == 40

    os.kill(first, signal.SIGKILL)
    until_sync(lambda: ask(port, "/ready").status == 503)
    assert ask(port, "/live").status == 200  # another is on its way
    until_sync(lambda: ask(port, "/ready").status == 200)
    # What the killed one had counted stays.
    assert value(ask(port, "/metrics").body, "oxherd_events_ended_total", **done) == 40

    emit(app, standalone, '{"blocks": 14}')
    until_sync(lambda: ask(port, "/live").status == 503)
    told = ask(port, "/live").json
    [ill] = [each for each in told["processes"] if not each["live"]]
    assert told["reasons"][0].startswith(f"Worker process {ill['pid']}: The event loop has been blocked for 1")
    assert value(ask(port, "/metrics").body, "oxherd_live") == 0
    # A worker that cannot even answer is not live either.
    supervisor.wait("event.end", 41)
    os.kill(second, signal.SIGSTOP)
    until_sync(lambda: ask(port, "/live").status == 503)
    assert f"Worker process {second}: It has not answered for 1" in ask(port, "/live").body
    os.kill(second, signal.SIGCONT)
    until_sync(lambda: ask(port, "/ready").status == 200)
    assert supervisor.stop() == 0
    assert ask(port, "/live").status == 0


@pytest.mark.parametrize("processes", ["1", "2"])
def test_metrics_without_their_extra_say_what_to_install(
    standalone: str, app: Path, start: Start, processes: str
) -> None:
    text = (app / "app.py").read_text()
    (app / "app.py").write_text("import sys\nsys.modules['prometheus_client'] = None\n" + text)
    _, port = start(standalone, "--processes", processes)
    until_sync(lambda: ask(port, "/ready").status == 200)
    refused = ask(port, "/metrics")
    assert (refused.status, refused.json) == (
        501,
        {"error": "Metrics need prometheus_client; install oxherd[prometheus]."},
    )


@pytest.mark.parametrize("address", ["8081", "127.0.0.1", "127.0.0.1:", ":8081", "a:b", "h:70000", "::1:8081", "a b:1"])
def test_a_wrong_address_is_wrong_usage(address: str) -> None:
    with pytest.raises(ConfigError, match="--health takes HOST:PORT"):
        parse_address(address)
    assert parse_address("[::1]:8081") == Address("::1", 8081)
    assert str(Address("::1", 8081)) == "[::1]:8081"


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_wrong_address_ends_with_2_and_a_taken_port_with_1_before_anything_is_begun(
    standalone: str, app: Path, processes: str
) -> None:
    command = ("worker", "app:herd", "--processes", processes, "--health")
    wrong = cli(app, *command, "8081", url=standalone)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        busy = cli(app, *command, address, url=standalone)
    assert busy.returncode == 1
    assert busy.stderr == (
        f"oxherd: Nothing can listen at {address} (address already in use); give --health another address.\n"
    )


@pytest.fixture
def endpoint() -> Iterator[tuple[str, int]]:
    with serving(Address("127.0.0.1", 0), ProcessSource(Oxherd("redis://127.0.0.1:1"))) as address:
        yield address.host, address.port


def test_a_request_that_cannot_be_read_is_refused_and_not_repeated(endpoint: tuple[str, int]) -> None:
    for request, status in (
        (b"<script> /live \x00\r\n\r\n", 400),
        (b"GET /live HTTP/1.1\r\n<script>: " + b"x" * 70_000 + b"\r\n\r\n", 431),
        (b"GET /live HTTP/1.1\r\n" + b"<script>: x\r\n" * 200 + b"\r\n", 431),
        (b"GET /live HTTP/1.1\r\n" + (b"<script>: " + b"x" * 60_000 + b"\r\n") * 3, 431),
        (b"GET /<script>" + b"x" * 70_000, 414),
        (b"<SCRIPT> /live HTTP/1.1\r\n\r\n", 405),
    ):
        with socket.create_connection(endpoint) as broken:
            broken.sendall(request)
            answer = broken.recv(1000)
        assert answer.startswith(b"HTTP/1.0 %d " % status)
        assert b"script" not in answer.lower()
    assert ask(endpoint[1], "/ready").json["reasons"] == ["No event is processed; start the herd."]


def silent(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address)


def half_of_a_head(address: tuple[str, int]) -> socket.socket:
    client = socket.create_connection(address)
    client.sendall(b"GET /live HTTP/1.1\r\nHost: ")
    return client


def unread(address: tuple[str, int]) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    client.connect(address)
    client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
    return client


def answering() -> bool:
    return any("process_request" in thread.name for thread in threading.enumerate())


class Large:
    """A source of more metrics than the buffers of a connection take."""

    def health(self) -> dict[str, Any]:
        return {"live": True, "ready": True}

    def metrics(self) -> tuple[str, bytes]:
        return "text/plain", b"x" * 8_000_000


@pytest.mark.parametrize("connect", [silent, half_of_a_head, unread])
def test_no_number_of_idle_clients_keeps_a_probe_from_its_answer(
    connect: Callable[[tuple[str, int]], socket.socket],
) -> None:
    with serving(Address("127.0.0.1", 0), Large()) as address, ExitStack() as clients:
        for number in range(200):
            clients.enter_context(connect((address.host, address.port)))
            if number % 40 == 39:
                assert ask(address.port, "/live").status == 200
        until_sync(lambda: not answering())


@pytest.mark.slow
def test_a_client_that_reads_in_drops_is_cut_off() -> None:
    with serving(Address("127.0.0.1", 0), Large()) as address, unread((address.host, address.port)) as client:
        until_sync(answering)
        until_sync(lambda: client.recv(1024) == b"" or not answering(), every=0.01)


def test_a_client_that_sends_more_than_one_request_or_half_closes_gets_one_answer(endpoint: tuple[str, int]) -> None:
    request = b"GET /live HTTP/1.1\r\nConnection: keep-alive\r\n\r\n"
    for sent in (request, request * 3):
        with socket.create_connection(endpoint) as client:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            with client.makefile("rb") as answer:
                assert answer.read().count(b"HTTP/1.0 200 OK") == 1


def test_a_request_that_comes_byte_by_byte_has_a_second(endpoint: tuple[str, int]) -> None:
    with socket.create_connection(endpoint) as slow:
        slow.settimeout(0.1)
        began = time.monotonic()
        slow.sendall(b"GET /live HTTP/1.1\r\n")
        with suppress(ConnectionError):
            while True:
                slow.sendall(b"X")
                with suppress(TimeoutError):
                    assert slow.recv(1) == b""
                    break
        assert 0.9 < time.monotonic() - began < 5
