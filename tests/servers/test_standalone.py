"""One server, bundled or another, on a port or a Unix socket."""

from __future__ import annotations

import re
import socket
import stat
from pathlib import Path

import pytest

from oxherd.errors import ServerError
from oxherd.redis.blocking import ReplyError, command, ping
from oxherd.servers.ports import PortTaken, free_ports
from oxherd.servers.standalone import StandaloneServer
from tests.servers.conftest import alive, eventually, running_in


def test_it_answers_on_a_port_of_the_loopback_interface_only(tmp_path: Path) -> None:
    with StandaloneServer(directory=tmp_path) as server:
        assert re.fullmatch(rf"redis://:\w{{32}}@127.0.0.1:{server.port}/0", server.url)
        assert server.command("PING") == "PONG"
        assert server.command("CONFIG", "GET", "bind") == ["bind", "127.0.0.1"]
        pid = server.pid
    assert not alive(pid)
    assert list(tmp_path.iterdir()) == []


def test_it_answers_on_a_private_unix_socket() -> None:
    with StandaloneServer(unix=True) as server:
        assert server.url == f"unix://{server.address.path}"
        assert stat.S_IMODE(Path(server.address.path).stat().st_mode) == 0o600
        assert server.command("CONFIG", "GET", "port") == ["port", "0"]
    assert not server.directory.exists()


@pytest.mark.redis7
def test_debians_redis_answers_on_a_unix_socket(redis7_binary: Path) -> None:
    with StandaloneServer(unix=True, binary=redis7_binary) as server:
        assert server.command("PING") == "PONG"


def test_it_requires_its_password_which_is_on_no_command_line(tmp_path: Path) -> None:
    password = 'a "quoted" \\ pass#word ü'
    with StandaloneServer(directory=tmp_path, password=password) as server:
        assert server.command("PING") == "PONG"
        assert password not in Path(f"/proc/{server.pid}/cmdline").read_text()
        assert stat.S_IMODE((server.directory / "server.conf").stat().st_mode) == 0o600
        with pytest.raises(ReplyError, match="NOAUTH"):
            command(server.address, "GET", "key")


def test_settings_of_one_and_of_several_values_reach_its_configuration(tmp_path: Path) -> None:
    acl = tmp_path / "users.acl"
    acl.write_text("user default on nopass ~* &* +@all\nuser reader on >secret ~* +get\n")
    with StandaloneServer(
        directory=tmp_path, password="", settings={"aclfile": acl, "save": (3600, 1), "maxmemory-policy": "allkeys-lru"}
    ) as server:
        assert server.command("CONFIG", "GET", "maxmemory-policy") == ["maxmemory-policy", "allkeys-lru"]
        assert server.command("CONFIG", "GET", "save") == ["save", "3600 1"]
        assert server.command("ACL", "WHOAMI") == "default"
        assert server.command("AUTH", "reader", "secret") == "OK"


def test_it_comes_back_on_the_same_port_with_its_data(tmp_path: Path) -> None:
    with StandaloneServer(directory=tmp_path, settings={"appendonly": "yes"}) as server:
        server.command("SET", "key", "value")
        port = server.port
        server.kill()
        assert not server.running
        assert ping(server.address) == "down"
        server.start()
        server.restart()
        server.terminate()
        assert not server.running
        server.start()
        assert (server.port, server.command("GET", "key")) == (port, "value")


def test_a_paused_server_answers_nothing_and_can_be_stopped(tmp_path: Path) -> None:
    server = StandaloneServer(directory=tmp_path)
    server.start()
    server.pause()
    assert server.running
    assert not server.answering
    assert ping(server.address, timeout=0.1) == "down"
    server.resume()
    assert ping(server.address) == "up"
    server.pause()
    server.stop()
    server.stop()
    assert running_in(tmp_path) == []


def test_a_taken_port_is_an_error(tmp_path: Path) -> None:
    with socket.socket() as taken:
        [port] = free_ports(1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        server = StandaloneServer(directory=tmp_path, port=port)
        with pytest.raises(PortTaken, match="Address already in use"):
            server.start()
        server.stop()


def test_a_free_port_that_gets_taken_is_replaced(tmp_path: Path) -> None:
    server = StandaloneServer(directory=tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", server.port))
        taken.listen()
        with server:
            assert server.port != taken.getsockname()[1]
            assert server.command("PING") == "PONG"


def test_its_role_is_asked_again_when_a_sentinel_closes_the_connection(tmp_path: Path) -> None:
    with (
        StandaloneServer(directory=tmp_path, password="") as server,
        socket.create_connection(("127.0.0.1", server.port)) as killing,
    ):
        before = int(server.info("stats")["total_connections_received"])
        # Commands sent during the pause run in order at its end.
        server.command("CLIENT", "PAUSE", 300, "ALL")
        killing.sendall(b"CLIENT KILL TYPE normal\r\n")
        assert server.role() == "primary"
        # The pause, two requests for the role, and this one.
        assert int(server.info("stats")["total_connections_received"]) == before + 4


def test_a_server_that_was_never_started_cannot_be_paused(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="never started"):
        StandaloneServer(directory=tmp_path).pause()


def test_a_server_that_loads_its_data_is_not_down(tmp_path: Path) -> None:
    with StandaloneServer(
        directory=tmp_path,
        password="",
        settings={"appendonly": "yes", "enable-debug-command": "yes", "aof-use-rdb-preamble": "no"},
    ) as server:
        server.command("DEBUG", "POPULATE", 20000)
        server.command("CONFIG", "SET", "key-load-delay", 200, "loading-process-events-interval-bytes", 1024)
        server.command("BGREWRITEAOF", timeout=60)
        eventually(lambda: server.info("persistence")["aof_rewrite_in_progress"] == "0", "the log is rewritten")
        server.terminate()
        with (server.directory / "server.conf").open("a") as file:
            file.write("key-load-delay 200\nloading-process-events-interval-bytes 1024\n")
        server.launch()
        eventually(lambda: ping(server.address) == "loading", "the server says that it is loading")
        server.kill()


@pytest.mark.redis7
def test_it_can_run_another_binary(tmp_path: Path, redis7_binary: Path) -> None:
    with StandaloneServer(directory=tmp_path, binary=redis7_binary, password="secret") as server:
        assert server.info("server")["redis_version"].startswith("7.")
        assert "valkey_version" not in server.info("server")
