"""`oxherd dev` runs a server, prints its URL, and stops it when it ends."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oxherd.redis.blocking import ping
from oxherd.redis.url import Address
from tests.cli.support import start
from tests.harness import cli, until_sync
from tests.servers.conftest import eventually, running_in

APP = """
from oxherd import Oxherd
herd = Oxherd()
herd.declare("order.placed", int)
"""

Dev = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def dev(project: Path, temporary: Path) -> Iterator[Dev]:
    """Starts `oxherd dev` in the project's folder, and ends it for certain."""
    (project / "app.py").write_text(APP)
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        started.append(start(project, "dev", *arguments))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def url_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("OXHERD_URL="), (line, process.poll())
    return line.removeprefix("OXHERD_URL=").strip()


def end(process: subprocess.Popen[str], number: signal.Signals, *, group: bool = False) -> None:
    """Tell it to end, as a service manager does, or as Ctrl-C does, which reaches all that were started by it."""
    if group:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", "")


def socket_of(url: str) -> Path:
    assert url.startswith("unix:///")
    return Path(url.removeprefix("unix://"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_embedded_server_runs_until_a_signal(number: signal.Signals, dev: Dev, project: Path) -> None:
    process = dev()
    url = url_of(process)
    emitted = cli(project, "emit", "app:herd", "order.placed", "1", url=url)
    assert (emitted.returncode, emitted.stderr) == (0, "")
    assert ping(Address(path=str(socket_of(url)))) == "up"
    assert process.poll() is None
    end(process, number, group=number is signal.SIGINT)
    until_sync(lambda: ping(Address(path=str(socket_of(url)))) == "down")


def test_the_embedded_server_is_that_of_the_project(dev: Dev, project: Path) -> None:
    process = dev()
    url = url_of(process)
    # Without a URL, in the same project: the same server.
    assert cli(project, "emit", "app:herd", "order.placed", "1").returncode == 0
    checked = cli(project, "check", "app:herd")
    assert str(socket_of(url)) in checked.stdout
    end(process, signal.SIGTERM)
    again = dev()
    assert url_of(again) == url
    end(again, signal.SIGTERM)


def test_two_share_the_server_and_the_last_one_stops_it(dev: Dev) -> None:
    first, second = dev(), dev()
    url = url_of(first)
    assert url_of(second) == url
    end(first, signal.SIGTERM)
    assert ping(Address(path=str(socket_of(url)))) == "up"
    end(second, signal.SIGTERM)
    until_sync(lambda: ping(Address(path=str(socket_of(url)))) == "down")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_cluster_of_six_nodes_runs_until_a_signal(
    number: signal.Signals, dev: Dev, project: Path, temporary: Path
) -> None:
    process = dev("--cluster")
    url = url_of(process)
    ports = [int(port) for port in re.findall(r"127.0.0.1:(\d+)", url)]
    assert url.startswith("redis+cluster://")
    assert len(ports) == 6
    emitted = cli(project, "emit", "app:herd", "order.placed", "1", url=url)
    assert (emitted.returncode, emitted.stderr) == (0, "")
    checked = cli(project, "check", "app:herd", url=url)
    assert "16384 of 16384" in checked.stdout
    assert len(running_in(temporary)) >= 6
    end(process, number, group=number is signal.SIGINT)
    assert [port for port in ports if ping(Address("127.0.0.1", port)) != "down"] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_cluster_that_is_still_starting_stops_at_a_signal(number: signal.Signals, dev: Dev, temporary: Path) -> None:
    process = dev("--cluster")
    until_sync(lambda: len(running_in(temporary)) >= 2)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.count("\n") <= 1


def test_a_cluster_ends_with_its_killed_command(dev: Dev, temporary: Path) -> None:
    process = dev("--cluster")
    url_of(process)
    process.kill()
    process.communicate()
    eventually(lambda: not running_in(temporary), "the nodes end with the process that started them")
    # Nobody is left to remove it.
    for folder in temporary.iterdir():
        shutil.rmtree(folder)
