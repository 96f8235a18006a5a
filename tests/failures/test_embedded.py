"""The embedded server dies, or its files are removed, while others use it: whoever uses it starts it again."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oxherd import EmitError, Oxherd, ServerError
from oxherd.redis.blocking import command, ping
from oxherd.redis.url import Address
from oxherd.servers.binary import server_binary
from oxherd.servers.embedded import EmbeddedServer
from tests.cli.support import start
from tests.harness import Records, until_sync
from tests.servers.conftest import eventually, running_in

APP = """
from oxherd import Oxherd
herd = Oxherd()

@herd.event("order.placed")
async def order_placed(number: int) -> None: ...
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("OXHERD_URL", "OXHERD_EMBEDDED", "OXHERD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "app.py").write_text(APP)
    yield tmp_path
    eventually(lambda: not running_in(tmp_path), "server and keeper end")


def socket(project: Path) -> Address:
    return Address(path=str(project / ".oxherd" / "valkey.sock"))


def blocked_clients(project: Path) -> int:
    return int(str(command(socket(project), "INFO", "clients")).partition("blocked_clients:")[2].split()[0])


def kill(project: Path) -> None:
    info = str(command(socket(project), "INFO", "server"))
    os.kill(int(info.partition("process_id:")[2].split()[0]), signal.SIGKILL)


def kill_keeper(project: Path) -> None:
    for pid in running_in(project):
        if "keeper.py" in Path(f"/proc/{pid}/cmdline").read_text():
            os.kill(pid, signal.SIGKILL)


def remove_folder(project: Path) -> None:
    shutil.rmtree(project / ".oxherd")


def remove_socket(project: Path) -> None:
    (project / ".oxherd" / "valkey.sock").unlink()


@pytest.mark.parametrize("end", [kill, kill_keeper, remove_folder, remove_socket])
async def test_a_server_that_ends_under_a_worker_is_started_again(
    end: Callable[[Path], None], project: Path, records: Records
) -> None:
    herd = Oxherd()

    @herd.event("order.placed")
    async def order_placed(number: int) -> None: ...

    async with herd:
        await herd.start()
        emitted = await order_placed.emit(1)
        await records.wait("event.end", event_id=emitted.id, outcome="completed")
        end(project)
        await records.wait("redis.error")
        await records.wait("redis.recovered")
        for number in range(3):
            emitted = await order_placed.emit(number)
            await records.wait("event.end", event_id=emitted.id, outcome="completed")
            emitted = await asyncio.to_thread(order_placed.emit_sync, number)
            await records.wait("event.end", event_id=emitted.id, outcome="completed")
    assert (len(records.named("redis.error")), len(records.named("redis.recovered"))) == (1, 1)


def test_a_server_that_died_has_its_data_when_the_next_emit_starts_it_again(project: Path) -> None:
    herd = Oxherd()
    event = herd.declare("order.placed", int)
    for number in range(3):
        event.emit_sync(number)
        kill(project)
    event.emit_sync(3)
    assert command(socket(project), "LLEN", "bull:{order.placed}:wait") == 4
    for number in range(3):
        kill(project)
        asyncio.run(event.emit(number))
    assert command(socket(project), "LLEN", "bull:{order.placed}:wait") == 7
    herd.close_sync()


def test_processes_that_start_it_again_at_the_same_time_share_it(project: Path) -> None:
    workers = [start(project, "worker", "app:herd", "--log-format", "json") for _ in range(3)]
    try:
        herd = Oxherd()
        event = herd.declare("order.placed", int)
        for number in range(2):
            event.emit_sync(number)
            until_sync(lambda: "connected_clients:" in str(command(socket(project), "INFO", "clients")))
            until_sync(
                lambda: int(str(command(socket(project), "INFO")).partition("blocked_clients:")[2].split()[0]) >= 3
            )
            kill(project)
            until_sync(lambda: ping(socket(project)) == "up")
        event.emit_sync(2)
        until_sync(lambda: command(socket(project), "LLEN", "bull:{order.placed}:wait") == 0)
        herd.close_sync()
    finally:
        for worker in workers:
            worker.terminate()
    logs = [worker.communicate(timeout=30)[1] for worker in workers]
    for log in logs:
        assert (log.count('"redis.error"'), log.count('"redis.recovered"')) == (2, 2), log
    assert sum(log.count('"event.end"') for log in logs) == 3


async def test_what_keeps_it_from_starting_is_said_without_a_hint_at_a_url_that_is_not_set(
    project: Path, records: Records
) -> None:
    herd = Oxherd(emit_timeout=1)
    event = herd.declare("order.placed", int)
    async with herd:
        await event.emit(1)
        (manifest,) = (project / ".oxherd" / "appendonlydir").glob("*.manifest")
        written = manifest.read_bytes()
        manifest.write_text("no manifest\n")
        kill(project)
        [error] = await records.wait("redis.error")
        assert "did not start" in vars(error)["error"]["message"]
        with pytest.raises(EmitError, match=r"embedded server in .* did not start"):
            await event.emit(2)
        manifest.write_bytes(written)
        await records.wait("redis.recovered")
        await event.emit(3)
    assert len(records.named("redis.error")) == 1


def test_a_server_that_dies_under_the_development_command_is_started_again(project: Path) -> None:
    dev = start(project, "dev")
    try:
        until_sync(lambda: ping(socket(project)) == "up")
        kill(project)
        until_sync(lambda: ping(socket(project)) == "up")
    finally:
        dev.terminate()
        out, err = dev.communicate(timeout=30)
    assert (dev.returncode, err) == (0, "")
    assert out.count("\n") == 1


def test_a_server_that_is_killed_while_others_start_it_is_started_again(project: Path) -> None:
    server = EmbeddedServer(project)
    ends = threading.Event()

    def kill_once() -> None:
        until_sync(lambda: ping(socket(project)) == "up", every=0.0001)
        kill(project)
        ends.set()

    for _ in range(20):
        ends.clear()
        killer = threading.Thread(target=kill_once)
        killer.start()
        server.start()
        ends.wait()
        killer.join()
    server.restart()
    assert ping(socket(project)) == "up"
    server.stop()


KILLED = """#!/bin/sh
echo launched >> {launches}
if [ $(wc -l < {launches}) -le {times} ]
then
    echo "DB loaded from append only file"
    kill -9 $$
fi
exec {binary} "$@"
"""


def kill_while_it_loads(project: Path, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have so many servers killed before they are ready, as the kernel does where memory is short."""
    binary = project / "killed"
    names = {"launches": shlex.quote(str(project / "launches")), "binary": shlex.quote(str(server_binary()))}
    binary.write_text(KILLED.format(times=times, **names))
    binary.chmod(0o700)
    monkeypatch.setattr("oxherd.servers.embedded.server_binary", lambda: binary)


def test_a_server_that_is_killed_before_it_is_ready_is_started_again(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_while_it_loads(project, 2, monkeypatch)
    server = EmbeddedServer(project)
    server.start()
    assert ping(socket(project)) == "up"
    server.stop()


def test_a_server_that_is_killed_each_time_is_named_and_its_data_are_not_blamed(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_while_it_loads(project, 3, monkeypatch)
    told = r" ends before it is ready \(.*the server was killed \(SIGKILL\)\): end what kills it, see "
    with pytest.raises(ServerError, match=told) as caught:
        EmbeddedServer(project).start()
    assert "away" not in str(caught.value)


def test_why_a_server_ended_is_said_also_if_its_log_had_grown_long(project: Path) -> None:
    server = EmbeddedServer(project)
    server.start()
    server.stop()
    eventually(lambda: not running_in(project), "server and keeper end")
    data = project / ".oxherd"
    (data / "server.log").write_text("an old line\n" * 100_000)
    next((data / "appendonlydir").glob("*.incr.aof")).write_bytes(b"nothing of Valkey's\r\n")
    with pytest.raises(ServerError, match=r"did not start \(Bad file format"):
        server.start()


def test_a_process_that_has_left_starts_it_no_more(project: Path) -> None:
    server = EmbeddedServer(project)
    server.start()
    server.stop()
    with pytest.raises(Exception, match="was left by this process"):
        server.restart()


def test_its_use_is_kept_by_threads_that_restart_it_together(project: Path) -> None:
    server = EmbeddedServer(project)
    server.start()
    kill(project)
    threads = [threading.Thread(target=server.restart) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ping(socket(project)) == "up"
    server.stop()


async def test_stops_at_the_same_time_leave_the_server_when_all_are_done(project: Path, records: Records) -> None:
    herd = Oxherd()

    @herd.event("order.placed")
    async def order_placed(_: int) -> None:
        await asyncio.sleep(0.5)

    await order_placed.emit(1)
    await herd.start()
    await records.wait("event.begin", deadline=10)
    await asyncio.gather(*(herd.stop(timeout=10) for _ in range(3)), order_placed.stop(timeout=10))
    assert [record.__dict__["outcome"] for record in records.all if record.msg == "event.end"] == ["completed"]
