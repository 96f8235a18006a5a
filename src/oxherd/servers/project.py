"""Finds the project of a process, and the folder and socket of its embedded server."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from oxherd.errors import ServerError
from oxherd.servers.binary import REMEDY

# sun_path holds 104 bytes on macOS and 108 on Linux, the final zero included.
LONGEST_SOCKET = 100


def project_dir(start: Path | None = None) -> Path:
    """The nearest folder with a `pyproject.toml`, from `start` (default: the current folder) upwards, else `start`."""
    try:
        here = (start or Path.cwd()).resolve()
    except FileNotFoundError as error:
        raise ServerError(f"The current folder no longer exists: change to another or {REMEDY}.") from error
    for folder in (here, *here.parents):
        if _is_file(folder / "pyproject.toml"):
            return folder
    return here


def data_dir(project: Path) -> Path:
    """`<project>/.oxherd`, made if missing, with mode 0700; ServerError if another user's file is in it."""
    data = project / ".oxherd"
    try:
        _private(data, strict=False)
        _assert_own(data)
        ignore = data / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
    except OSError as error:
        raise ServerError(
            f"The embedded server cannot keep its data in {data} ({error.strerror}): "
            f"make the folder writable for this user or {REMEDY}."
        ) from error
    return data


def socket_path(project: Path) -> Path:
    """The path of the project's socket for clients.

    `<project>/.oxherd/valkey.sock`, or, where that is too long for a Unix socket, a short symbolic link to the folder.
    Processes with another $XDG_RUNTIME_DIR get another link to the same socket.
    """
    data = project / ".oxherd"
    direct = data / "valkey.sock"
    if len(os.fsencode(direct)) <= LONGEST_SOCKET:
        return direct
    name = hashlib.sha256(os.fsencode(project)).hexdigest()[:16]
    for base in _short_bases():
        folder = base / f"oxherd-{os.getuid()}"
        short = folder / name / "valkey.sock"
        if len(os.fsencode(short)) <= LONGEST_SOCKET:
            try:
                _private(folder, strict=True)
                _link(folder / name, data)
            except OSError as error:
                raise ServerError(
                    f"The path {direct} is too long for a socket, and {folder} cannot hold a shorter one "
                    f"({error.strerror}): set TMPDIR to a folder of this user or {REMEDY}."
                ) from error
            return short
    raise ServerError(f"The path {direct} is too long for a socket: set TMPDIR to a short path or {REMEDY}.")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except PermissionError:
        return False


def _short_bases() -> list[Path]:
    bases = [Path(tempfile.gettempdir()), Path("/tmp")]  # noqa: S108
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    # Under sudo it may be another user's.
    if runtime and Path(runtime).is_dir() and Path(runtime).stat().st_uid == os.getuid():
        bases.insert(0, Path(runtime))
    return bases


def _private(folder: Path, *, strict: bool) -> None:
    """Make `folder` with mode 0700 if it is missing; refuse another user's, and with `strict` one with a wider mode."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    else:
        folder.chmod(0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise ServerError(f"{folder} is not a folder of this user: remove it or {REMEDY}.")
    if stat.S_IMODE(found.st_mode) != 0o700:
        if strict:
            raise ServerError(f"{folder} is open to other users: remove it, or give it mode 0700 if it is yours.")
        folder.chmod(0o700)


def _assert_own(folder: Path) -> None:
    # While the folder was open to others, they could put an append-only file or a link into it.
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            try:
                owner = path.lstat().st_uid
            except FileNotFoundError:
                continue  # the server replaces its files
            if owner != os.getuid():
                raise ServerError(f"{path} belongs to another user: remove it or {REMEDY}.")


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    fresh = link.with_name(f"{link.name}.{os.getpid()}.{os.urandom(4).hex()}")
    fresh.symlink_to(target)
    fresh.replace(link)
