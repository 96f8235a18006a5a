"""The server's user and password are in no exception, `repr`, log record, output or command line."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import signal
import traceback
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import FrameType
from urllib.parse import quote, quote_plus

import pytest

import oxherd
from oxherd import ConfigError, EmitError, Every, Oxherd
from oxherd.bullmq.keys import QueueKeys
from oxherd.redis.blocking import command
from oxherd.redis.connection import open_connection
from oxherd.servers.embedded import EmbeddedServer
from oxherd.servers.local_cluster import LocalCluster
from oxherd.servers.standalone import StandaloneServer
from oxherd.telemetry.logs.console_formatter import ConsoleFormatter
from oxherd.telemetry.logs.json_formatter import JSONFormatter
from tests.cli.support import start
from tests.harness import Records, WorkerProcess, cli, until
from tests.servers.conftest import eventually, parent_of, running_in, server_pid

USER, PASSWORD = "us:er-name", "s3cr3t/p@ss:w%rd-ü"
CREDENTIALS = f"{quote(USER, safe='')}:{quote(PASSWORD, safe='')}@"
# However it may be written; each half of it alone would be enough to tell.
FORMS = {
    form
    for secret in (PASSWORD, USER, PASSWORD.partition("/")[0], PASSWORD.partition("@")[2])
    for form in (secret, quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1])
} | {base64.b64encode(text.encode()).decode().rstrip("=") for text in (PASSWORD, f"{USER}:{PASSWORD}")}
SOURCE = str(Path(oxherd.__file__).parent)

APP = """
from oxherd import Oxherd

herd = Oxherd(URL, emit_timeout=0.5)

@herd.event("order.placed", run_in="process")
def order_placed(order: dict[str, int]) -> None: ...
"""


def shown(*things: object) -> set[str]:
    """The forms of the secrets that are to be seen in the texts, or the text of the things."""
    text = "\n".join(each if isinstance(each, str) else f"{each}\n{each!r}" for each in things)
    return {form for form in FORMS if form in text}


def everything(error: BaseException) -> Iterator[str]:
    """An exception as it can be shown, with its causes and contexts, and with the variables of our own frames."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        waiting += [each.__cause__, each.__context__]
        yield f"{each} {each!r} {each.args} {vars(each)}"
        yield "".join(traceback.format_exception(each))
        for frame, _ in traceback.walk_tb(each.__traceback__):
            yield from _variables(frame)


def _variables(frame: FrameType) -> Iterator[str]:
    if frame.f_code.co_filename.startswith(SOURCE):
        yield from (repr(value) for value in frame.f_locals.values())


def logged(records: Records) -> Iterator[str]:
    """Each record, whole and as each formatter writes it."""
    for record in records.all:
        yield str(vars(record))
        for formatter in (JSONFormatter(), ConsoleFormatter(colour=False), logging.Formatter()):
            yield formatter.format(record)


@pytest.fixture
def server() -> Generator[StandaloneServer]:
    with StandaloneServer() as server:
        yield server


@pytest.fixture
def connected_server(server: StandaloneServer) -> StandaloneServer:
    """A server that knows the user."""
    server.command("ACL", "SETUSER", USER, "on", f">{PASSWORD}", "~*", "&*", "+@all")
    return server


@pytest.mark.parametrize(
    "url",
    [
        "redis://CREDENTIALS127.0.0.1:PORT",
        "redis+cluster://CREDENTIALS127.0.0.1:PORT",
        "redis+sentinel://CREDENTIALS127.0.0.1:PORT/main",
        "redis+sentinel://127.0.0.1:PORT/main?sentinel_username=USER&sentinel_password=PASSWORD",
        "rediss://CREDENTIALS127.0.0.1:CLOSED",
        "redis://CREDENTIALS127.0.0.1:CLOSED",
        "redis+cluster://CREDENTIALS127.0.0.1:CLOSED",
        "unix://CREDENTIALS/no/such/socket",
    ],
)
async def test_no_secret_of_a_server_that_refuses_or_is_down(
    url: str, server: StandaloneServer, records: Records
) -> None:
    herd = Oxherd(_filled(url, server.port), emit_timeout=0.2)

    @herd.event("order.placed")
    async def order_placed(order: dict[str, int]) -> None: ...

    caught: list[BaseException] = []
    async with herd:
        await herd.start()
        for call in (
            order_placed.emit({}),
            order_placed.emit_many([{}]),
            order_placed.schedule("daily", Every(60), {}),
        ):
            with pytest.raises(EmitError) as error:
                await call
            caught.append(error.value)
        with pytest.raises(EmitError) as error:
            await asyncio.to_thread(order_placed.emit_sync, {})
        caught.append(error.value)
        await herd.stop(timeout=0)
    assert records.named("redis.error")
    assert shown(*(text for error in caught for text in everything(error))) == set()
    assert shown(*logged(records)) == set()


async def test_no_secret_of_a_server_that_quotes_commands(records: Records) -> None:
    """Where AUTH is unknown, Redis says so with the user and the password."""
    with StandaloneServer(password="", settings={"rename-command": ("AUTH", "")}) as server:
        herd = Oxherd(_filled("redis://CREDENTIALS127.0.0.1:PORT", server.port), emit_timeout=0.2)
        event = herd.declare("order.placed", dict[str, int])
        async with herd:
            with pytest.raises(EmitError, match="unknown command 'AUTH'") as caught:
                await event.emit({})
            url = (await herd.backend()).client.url
            with pytest.raises(Exception, match="unknown command 'AUTH'") as closer:
                await open_connection(url, url.seeds[0])
    assert shown(*everything(caught.value), *everything(closer.value), *logged(records)) == set()


@pytest.mark.parametrize(
    "url",
    [
        "redis://CREDENTIALShost:port",
        "redis://CREDENTIALShost/zero",
        "redis://CREDENTIALShost?unknown=1",
        "redis+cluster://CREDENTIALShost/1",
        "redis+sentinel://CREDENTIALShost",
        "rediss://CREDENTIALShost?ssl_ca_certs=/no/such",
        "http://CREDENTIALShost",
        f"redis://{USER}:{PASSWORD}@host",
        f"redis://{PASSWORD}@host",
        f"unix://{USER}:{PASSWORD}@/run/redis.sock",
        f"redis+sentinel://{USER}:{PASSWORD}@host/main",
    ],
)
async def test_no_secret_of_an_invalid_url(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for herd in (Oxherd(_filled(url)), Oxherd()):
        monkeypatch.setenv("OXHERD_URL", _filled(url))
        with pytest.raises(ConfigError) as caught:
            await herd.backend()
        assert shown(*everything(caught.value)) == set()


async def test_no_secret_of_a_connected_server(connected_server: StandaloneServer, records: Records) -> None:
    herd = Oxherd(_filled("redis://CREDENTIALS127.0.0.1:PORT", connected_server.port))

    @herd.event("order.placed")
    async def order_placed(order: dict[str, int]) -> None: ...

    async with herd:
        await herd.start()
        await order_placed.emit({})
        await records.wait("event.end", outcome="completed")
        backend = await herd.backend()
        client = backend.client
        node = await client.topology.node(0)
        connection = await node.open()
        things = (herd, herd.server, order_placed, backend, client, client.topology, client.url, node, connection)
        assert shown(*things, *(repr(vars(each)) for each in (herd, backend, client, node))) == set()
        await connection.disconnect()
        # The server loses the connections, then knows another password, then ours again.
        connected_server.command("ACL", "SETUSER", USER, "resetpass", ">another")
        connected_server.command("CLIENT", "KILL", "USER", USER)
        await until(lambda: connected_server.command("ACL", "LOG"))
        connected_server.command("ACL", "SETUSER", USER, "resetpass", f">{PASSWORD}")
        await records.wait("redis.recovered")
        await order_placed.emit({})
        await records.wait("event.end", count=2, outcome="completed")
    assert shown(*logged(records)) == set()


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
async def test_no_secret_of_a_cluster_without_slots(scheme: str, records: Records) -> None:
    with StandaloneServer(settings={"cluster-enabled": "yes"}) as node:
        node.command("ACL", "SETUSER", USER, "on", f">{PASSWORD}", "~*", "&*", "+@all")
        herd = Oxherd(_filled(f"{scheme}://CREDENTIALS127.0.0.1:PORT", node.port), emit_timeout=0.2)
        async with herd:
            with pytest.raises(EmitError) as caught:
                await herd.declare("order.placed", dict[str, int]).emit({})
    assert records.named("redis.error", source="cluster")
    assert shown(*everything(caught.value), *logged(records)) == set()


async def test_no_secret_of_a_cluster_used_as_a_single_server(cluster: LocalCluster, records: Records) -> None:
    for node in cluster.nodes:
        node.command("ACL", "SETUSER", USER, "on", f">{PASSWORD}", "~*", "&*", "+@all")
    node = next(
        node for node in cluster.nodes if node is not cluster.primary_of(QueueKeys("bull", "{order.placed}").slot)
    )
    herd = Oxherd(_filled("redis://CREDENTIALS127.0.0.1:PORT", node.port), emit_timeout=0.2)
    async with herd:
        with pytest.raises(EmitError, match=r"use redis\+cluster://") as caught:
            await herd.declare("order.placed", dict[str, int]).emit({})
    for each in cluster.nodes:
        each.command("ACL", "DELUSER", USER)
    assert shown(*everything(caught.value), *logged(records)) == set()


@pytest.mark.parametrize("command", ["check", "emit", "worker"])
def test_no_secret_in_output_of_the_command_line(command: str, server: StandaloneServer, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP.replace("URL", "None"))
    url = _filled("redis://CREDENTIALS127.0.0.1:PORT", server.port)
    if command == "worker":
        worker = start(tmp_path, "worker", "app:herd", url=url)
        assert worker.stderr is not None
        lines = [next(worker.stderr), next(worker.stderr)]
        worker.send_signal(signal.SIGTERM)
        output, errors = worker.communicate(timeout=30)
        assert "redis.error" in lines[1]
        assert shown(*lines, output, errors) == set()
        return
    done = cli(tmp_path, command, "app:herd", *(["order.placed", "{}"] if command == "emit" else []), url=url)
    assert done.returncode == 1
    assert "invalid username-password pair" in done.stdout + done.stderr
    assert shown(done.stdout, done.stderr) == set()


@pytest.mark.parametrize("given", ["in code", "in the environment"])
def test_no_secret_in_the_process_list_of_workers_and_handlers(
    given: str, connected_server: StandaloneServer, tmp_path: Path, start_worker: Callable[..., WorkerProcess]
) -> None:
    url = _filled("redis://CREDENTIALS127.0.0.1:PORT", connected_server.port)
    in_code = given == "in code"
    (tmp_path / "app.py").write_text(APP.replace("URL", repr(url) if in_code else "None"))
    supervisor = start_worker("--processes", "2", url="" if in_code else url)
    herd = Oxherd(url)
    herd.declare("order.placed", dict[str, int]).emit_sync({})
    herd.close_sync()
    supervisor.wait("event.end", outcome="completed")
    family = [supervisor.process.pid, *_descendants(supervisor.process.pid)]
    assert len(family) == 4
    assert shown(*(_read(pid, "cmdline") for pid in family)) == set()
    environments = [_read(pid, "environ") for pid in family]
    # Passed on as it was given: in the environment, which only the same user can read.
    assert all(bool(shown(environment)) is not in_code for environment in environments)
    assert all(Path(f"/proc/{pid}/environ").stat().st_mode & 0o077 == 0 for pid in family)
    assert supervisor.stop() == 0


def test_no_secret_in_the_process_list_of_local_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OXHERD_URL", _filled("redis://CREDENTIALShost"))
    (tmp_path / "pyproject.toml").touch()
    embedded = EmbeddedServer(tmp_path)
    embedded.start()
    with LocalCluster(primaries=1, replicas=0, password=PASSWORD) as cluster:
        pids = [server_pid(embedded), parent_of(server_pid(embedded)), *(node.pid for node in cluster.nodes)]
        assert len(pids) == 3
        assert shown(*(_read(pid, file) for pid in pids for file in ("cmdline", "environ"))) == set()
        assert cluster.nodes[0].command("PING") == "PONG"
        with pytest.raises(oxherd.OxherdError, match="NOAUTH"):
            command(cluster.nodes[0].address, "PING")
    embedded.stop()
    eventually(lambda: not running_in(tmp_path), "the server ends")


def _filled(url: str, port: int = 0) -> str:
    for word, value in (
        ("CREDENTIALS", CREDENTIALS),
        ("PORT", str(port)),
        ("CLOSED", "1"),
        ("USER", quote(USER, safe="")),
        ("PASSWORD", quote(PASSWORD, safe="")),
    ):
        url = url.replace(word, value)
    return url


def _read(pid: int, file: str) -> str:
    return Path(f"/proc/{pid}/{file}").read_bytes().decode(errors="replace")


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            try:
                if parent_of(int(entry.name)) == pid:
                    found += [int(entry.name), *_descendants(int(entry.name))]
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found
