"""Files of local servers: private whatever the umask, and none of another user is used."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from oxherd import Oxherd
from oxherd.errors import ServerError
from oxherd.servers.embedded import EmbeddedServer
from tests.harness import DEADLINE
from tests.servers.conftest import eventually, running_in

NOBODY = 65534
only_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another user")

# Each prints the folder whose files are looked at, and waits until it may end.
EMBEDDED = """
from oxherd.servers.embedded import EmbeddedServer
from oxherd.redis.blocking import command
from oxherd.redis.url import Address
server = EmbeddedServer(Path(sys.argv[1]))
server.start()
command(Address(path=str(server.socket)), "SET", "key", "value")
print(Path(sys.argv[1], ".oxherd"), flush=True)
sys.stdin.read()
server.stop()
"""
STANDALONE = """
from oxherd.servers.standalone import StandaloneServer
settings = {"appendonly": "yes"}
with StandaloneServer(unix=True, directory=Path(sys.argv[1]), password="secret", settings=settings) as server:
    server.command("SET", "key", "value")
    server.command("CONFIG", "REWRITE")
    server.command("SAVE")
    print(server.directory, flush=True)
    sys.stdin.read()
"""
CLUSTER = """
from oxherd.servers.local_cluster import LocalCluster
with LocalCluster(primaries=1, replicas=0, directory=Path(sys.argv[1]), password="secret") as cluster:
    cluster.nodes[0].command("SET", "key", "value")
    print(cluster.directory, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("umask", [0o000, 0o077])
@pytest.mark.parametrize(
    ("script", "files"),
    [
        (EMBEDDED, {"valkey.sock", "server.conf", "server.log", "lock", "users", "keeper", "server"}),
        (STANDALONE, {"s", "server.conf", "server.log", "dump.rdb"}),
        (CLUSTER, {"server.conf", "server.log", "nodes.conf"}),
    ],
    ids=["embedded", "standalone", "cluster"],
)
def test_all_files_are_private_whatever_the_umask(umask: int, script: str, files: set[str], tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    program = f"import os, sys\nfrom pathlib import Path\nos.umask({umask})\n{script}"
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        found = {path: path.lstat().st_mode for path in (folder, *folder.rglob("*"))}
        process.communicate("", timeout=DEADLINE)
    assert process.returncode == 0
    names = {path.name for path in found}
    assert files <= names
    assert any(name.endswith(".aof") for name in names)
    for path, mode in found.items():
        # A hint for git, in a folder that only this user can enter.
        if path.name != ".gitignore":
            assert stat.S_IMODE(mode) == (0o700 if stat.S_ISDIR(mode) else 0o600), path
    eventually(lambda: not running_in(tmp_path), "all processes end")


@pytest.mark.parametrize("mode", [0o755, 0o777])
def test_a_folder_with_a_wider_mode_is_made_private_before_use(mode: int, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    data = tmp_path / ".oxherd"
    data.mkdir()
    data.chmod(mode)
    server = EmbeddedServer(tmp_path)
    server.start()
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    server.stop()
    eventually(lambda: not running_in(tmp_path), "the server ends")


@only_root
@pytest.mark.parametrize("name", [".", "server.log", "appendonlydir", "appendonlydir/appendonly.aof.manifest"])
def test_files_of_another_user_are_refused(name: str, tmp_path: Path) -> None:
    data = tmp_path / ".oxherd"
    (data / "appendonlydir").mkdir(parents=True)
    for file in (data / "server.log", data / "appendonlydir" / "appendonly.aof.manifest"):
        file.touch()
    os.chown(data / name, NOBODY, NOBODY)
    # Twice: the first time makes the folder private.
    for _ in range(2):
        with pytest.raises(ServerError, match=r"another user|not a folder of this user") as caught:
            EmbeddedServer(tmp_path).start()
        assert "remove it or set OXHERD_URL to a server of your own" in str(caught.value)
    assert not running_in(tmp_path)


@only_root
def test_a_link_of_another_user_is_refused_and_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    data = tmp_path / ".oxherd"
    data.mkdir()
    (data / "server.log").symlink_to(target)
    os.lchown(data / "server.log", NOBODY, NOBODY)
    with pytest.raises(ServerError, match=r"server\.log belongs to another user"):
        EmbeddedServer(tmp_path).start()
    assert target.read_text() == "mine"


@only_root
async def test_the_refusal_is_one_error_of_the_herd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / ".oxherd").mkdir()
    os.chown(tmp_path / ".oxherd", NOBODY, NOBODY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OXHERD_URL", raising=False)
    with pytest.raises(ServerError, match="not a folder of this user"):
        await Oxherd().backend()
