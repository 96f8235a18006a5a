"""Another user of the machine gets into no server that oxherd starts."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from oxherd.redis.url import Address, parse_url
from oxherd.servers.embedded import EmbeddedServer
from oxherd.servers.local_cluster import LocalCluster
from oxherd.servers.local_server import LocalServer
from oxherd.servers.standalone import StandaloneServer
from tests.local_sentinel import LocalSentinel
from tests.servers.conftest import eventually, running_in

NOBODY = 65534

# Prints what the server answers to a command that only an administrator may run.
INTRUDER = """
import encodings.idna, os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
path, host, port = sys.argv[1:]
try:
    if path:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path)
    else:
        connection = socket.create_connection((host, int(port)))
    connection.sendall(b"CONFIG GET dir\\r\\n")
    print(connection.recv(1000).decode())
except PermissionError as error:
    print(error)
"""


def _embedded(folder: Path) -> LocalServer:
    return EmbeddedServer(folder)


def _standalone(folder: Path) -> LocalServer:
    return StandaloneServer(directory=folder)


def _on_a_socket(folder: Path) -> LocalServer:
    return StandaloneServer(directory=folder, unix=True)


def _cluster(folder: Path) -> LocalServer:
    return LocalCluster(directory=folder)


def _sentinel(folder: Path) -> LocalServer:
    return LocalSentinel(directory=folder)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that others can reach, so that only what the server does keeps them out."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
        eventually(lambda: not running_in(Path(folder)), "the servers end")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("make", [_embedded, _standalone, _on_a_socket, _cluster, _sentinel])
def test_another_user_is_not_let_in(make: Callable[[Path], LocalServer], folder: Path) -> None:
    with make(folder) as server:
        addresses = list(parse_url(server.url).seeds)
        if isinstance(server, LocalSentinel):
            addresses += [Address("127.0.0.1", each.port) for each in server.servers]
        for address in addresses:
            words = [address.path, address.host, str(address.port)]
            answer = subprocess.run(
                [sys.executable, "-I", "-c", INTRUDER, *words], capture_output=True, text=True, timeout=30, check=True
            ).stdout
            assert answer.startswith(("-NOAUTH", "[Errno 13]")), answer
        password = urlsplit(server.url).password
        if password is not None:
            lines = [Path(f"/proc/{pid}/cmdline").read_text() for pid in running_in(folder)]
            logs = [log.read_text() for log in folder.rglob("server.log")]
            assert lines
            assert logs
            assert not [text for text in lines + logs if password in text]
            assert len(password) >= 32
