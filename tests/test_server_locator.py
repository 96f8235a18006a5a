"""Which server a herd uses, without and with a URL."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from oxherd import ConfigError, Oxherd
from oxherd.redis.url import Address
from tests.cli.support import start
from tests.harness import Records, cli, environment
from tests.servers.conftest import eventually, running_in

APP = """
from oxherd import Oxherd
herd = Oxherd()

@herd.event("order.placed")
async def order_placed(number: int) -> None: ...

@herd.event("order.printed", run_in="process")
def order_printed(number: int) -> None:
    print(herd.server.project(), flush=True)
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A project with a package in it, whose app is imported from elsewhere."""
    (tmp_path / "project" / "src" / "shop").mkdir(parents=True)
    (tmp_path / "project" / ".git").mkdir()
    (tmp_path / "project" / "src" / "shop" / "app.py").write_text(APP)
    (tmp_path / "elsewhere").mkdir()
    yield tmp_path / "project"
    eventually(lambda: not running_in(tmp_path / "project"), "server and keeper end")


@pytest.fixture
def no_url(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OXHERD_URL", "OXHERD_EMBEDDED", "OXHERD_PROJECT"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_url")
def test_a_command_uses_the_project_of_the_module_that_it_names_wherever_it_runs(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(project / "src"))
    elsewhere = project.parent / "elsewhere"
    for folder in (elsewhere, project / "src"):
        assert cli(folder, "emit", "shop.app:herd", "order.placed", "1").returncode == 0
    checked = cli(project, "check", "shop.app:herd")
    assert "2 waiting" in checked.stdout
    assert not list(elsewhere.iterdir())
    assert not (project / "src" / ".oxherd").exists()


@pytest.mark.usefixtures("no_url")
def test_a_worker_says_once_which_server_it_uses_and_its_handlers_processes_use_the_same(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(project / "src"))
    elsewhere = project.parent / "elsewhere"
    assert cli(elsewhere, "emit", "shop.app:herd", "order.printed", "1").returncode == 0
    worker = start(elsewhere, "worker", "shop.app:herd", "--log-format", "json")
    assert worker.stdout is not None
    assert worker.stdout.readline().strip() == str(project)
    worker.terminate()
    _, log = worker.communicate(timeout=30)
    said = [line for line in log.splitlines() if '"redis.embedded"' in line]
    assert len(said) == 1
    assert f'"project":"{project}"' in said[0]


@pytest.mark.usefixtures("no_url")
async def test_two_herds_of_a_project_say_so_once_and_share_the_server(
    project: Path, monkeypatch: pytest.MonkeyPatch, records: Records
) -> None:
    monkeypatch.chdir(project / "src")
    one, other = Oxherd(), Oxherd()
    async with one, other:
        await one.declare("order.placed", int).emit(1)
        backend = await other.backend()
        assert await backend.client.call(0, "EXISTS", "bull:{order.placed}:wait") == 1
        # Within the project, but where its path is too long for a socket.
        assert backend.client.url.seeds == (await one.backend()).client.url.seeds
        assert backend.client.url.seeds[0].path.endswith("/valkey.sock")
    [record] = records.named("redis.embedded")
    assert (record.levelname, vars(record)["project"]) == ("INFO", str(project))


@pytest.mark.parametrize("url", ["", " ", "\n"])
def test_an_empty_url_is_refused(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OXHERD_URL", url)
    for herd in (Oxherd(), Oxherd(url)):
        with pytest.raises(ConfigError, match="is empty; name a server, or leave it out for the embedded one"):
            herd.server.url()
    assert Oxherd("redis://host").server.url().seeds == (Address("host", 6379),)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("no_url")
@pytest.mark.parametrize(
    ("value", "says"), [("never", "refuses .*; set OXHERD_URL"), ("no", "unknown"), ("", "unknown")]
)
def test_the_environment_can_refuse_the_embedded_server(
    value: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OXHERD_EMBEDDED", value)
    with pytest.raises(ConfigError, match=says):
        Oxherd().server.url()
    refused = cli(tmp_path, "dev")
    assert refused.returncode == 2
    assert re.search(says, refused.stderr)
    assert refused.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("no_url")
def test_a_herd_can_refuse_the_embedded_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"embedded=False.*set OXHERD_URL"):
        Oxherd(embedded=False).declare("order.placed", int).emit_sync(1)
    assert not list(tmp_path.iterdir())


def test_emits_from_event_loops_that_have_ended_leave_nothing_behind(standalone: str, prefix: str) -> None:
    """Each `asyncio.run` makes another event loop."""
    script = f"""
import asyncio
import gc
from oxherd import Oxherd
from oxherd.redis.client import Client
herd = Oxherd({standalone!r}, prefix={prefix!r})
event = herd.declare("order.placed", int)
for number in range(20):
    asyncio.run(event.emit(number))
gc.collect()
print(sum(isinstance(each, Client) for each in gc.get_objects()))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, text=True, timeout=60, check=True
    )
    assert int(done.stdout) <= 2, done.stdout
    assert done.stderr == ""
