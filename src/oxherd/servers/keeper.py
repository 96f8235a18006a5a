"""The parent process of an embedded server: starts it, and stops it when its last user has stopped or died.

It also stops it when its files are removed or moved: its users then start another, where new users look for it.

Run detached, by path, with the standard library alone: `keeper.py DATA KEEPER_FD SERVER_FD BINARY`. Both descriptors
are locked: one shows users that a keeper lives, the other, which only the server keeps open, that a server does.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

_LOOK_SECONDS = 1.0  # between two looks for its files
_START_SECONDS = 0.02  # the same, until it listens
_LISTENS_SECONDS = 10.0  # by then it has listened, even if no look came in time to see it
KILLED = "the server was killed (SIGKILL)"  # the log's last line, which the server could not write
_STOP_SECONDS = 10.0  # from SIGTERM to SIGKILL, for a server stuck in a script


def main(arguments: list[str]) -> None:
    """Detach, start the server and wait for its end."""
    data, keeper, server, binary = Path(arguments[0]), int(arguments[1]), int(arguments[2]), arguments[3]
    if os.fork():
        # The user waits for this exit, so that the keeper is not its child, which it would have to reap.
        os._exit(0)
    os.chdir("/")
    os.set_inheritable(keeper, False)
    lock = os.fstat(keeper)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # An inherited SIG_IGN would let the kernel reap the server before waitpid sees it.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = _start(data, binary)
    os.close(server)
    stopping = threading.Event()
    threading.Thread(target=_stop_when_unused, args=(data, pid, stopping), daemon=True).start()
    threading.Thread(target=_stop_when_removed, args=(data, pid, lock), daemon=True).start()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        _note(data, KILLED)
    if stopping.is_set():
        # Only with the lock held: otherwise it may be the next server's socket.
        (data / "valkey.sock").unlink(missing_ok=True)
    os._exit(0)


def _start(data: Path, binary: str) -> int:
    log = _open_log(data)
    launch = str(Path(__file__).with_name("launch.py"))
    command = [sys.executable, "-I", "-S", "-B", launch, str(os.getpid()), str(int(signal.SIGTERM)), binary]
    # From the main thread: Linux ties the server's death to the thread that started it.
    pid = os.posix_spawn(
        sys.executable,
        [*command, str(data / "server.conf")],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)],
    )
    os.close(log)
    return pid


def _open_log(data: Path) -> int:
    return os.open(data / "server.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _note(data: Path, line: str) -> None:
    with suppress(OSError):  # its folder was removed, or the disk is full
        os.write(_open_log(data), f"{line}\n".encode())


def _stop_when_unused(data: Path, pid: int, stopping: threading.Event) -> None:
    try:
        _wait_until_unused(data)
        stopping.set()
    finally:
        # Also when waiting failed: a server without a keeper must not stay.
        _stop(pid)


def _stop_when_removed(data: Path, pid: int, lock: os.stat_result) -> None:
    listens_by = time.monotonic() + _LISTENS_SECONDS
    listened = False
    while True:
        time.sleep(_LOOK_SECONDS if listened else _START_SECONDS)
        listens = (data / "valkey.sock").exists()
        listened = listened or time.monotonic() > listens_by
        if (listened and not listens) or not _is_at(data / "keeper", lock):
            _stop(pid)
        listened = listened or listens


def _is_at(path: Path, file: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), file)
    except OSError:
        return False


def _stop(pid: int) -> None:
    os.kill(pid, signal.SIGTERM)
    time.sleep(_STOP_SECONDS)
    os.kill(pid, signal.SIGKILL)


def _wait_until_unused(data: Path) -> None:
    """Return with `lock` and `users` held, until this process exits: no user can start meanwhile."""
    users = os.open(data / "users", os.O_RDWR | os.O_CLOEXEC)
    lock = os.open(data / "lock", os.O_RDWR | os.O_CLOEXEC)
    while True:
        fcntl.flock(users, fcntl.LOCK_EX)
        # Released at once: users take `lock` before `users`, and the opposite order would deadlock.
        fcntl.flock(users, fcntl.LOCK_UN)
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(lock, fcntl.LOCK_UN)
        else:
            return


if __name__ == "__main__":
    main(sys.argv[1:])
