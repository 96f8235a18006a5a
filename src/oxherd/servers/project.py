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
SHARED_BASE = "/tmp"  # noqa: S108
# A `.git` is a file in a worktree.
MARKERS = (".oxherd", "pyproject.toml", ".git")


def project_dir(start: Path | None = None) -> Path:
    """The nearest folder with one of `MARKERS`, from `start` (default: the current folder) upwards, else `start`."""
    try:
        here = (start or Path.cwd()).resolve()
    except FileNotFoundError as error:
        raise ServerError(f"The current folder no longer exists: change to another or {REMEDY}.") from error
    folders = (here, *here.parents)
    return next((each for each in folders if any(os.path.lexists(each / name) for name in MARKERS)), here)


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
    refusals: list[str] = []
    for base in _short_bases():
        folder = base / f"oxherd-{os.getuid()}"
        short = folder / name / "valkey.sock"
        if len(os.fsencode(short)) > LONGEST_SOCKET:
            continue
        try:
            base.mkdir(exist_ok=True)
            _assert_safe(base)
            _private(folder, strict=True)
            _link(folder / name, data)
        except ServerError as error:
            refusals.append(str(error).rstrip("."))
        except OSError as error:
            refusals.append(f"{folder} cannot be used: {error.strerror}")
        else:
            return short
    why = f" ({'; '.join(refusals)})" if refusals else ""
    raise ServerError(f"The path {direct} is too long for a socket{why}: set TMPDIR to a short path or {REMEDY}.")


def _short_bases() -> list[Path]:
    # In a shared folder another user may have taken our folder's name, but not in a home.
    bases = [os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), SHARED_BASE, os.path.expanduser("~/.cache")]  # noqa: PTH111
    return [Path(base) for base in dict.fromkeys(bases) if os.path.isabs(base)]  # noqa: PTH117


def _assert_safe(base: Path) -> None:
    # Where others can write, they could put a folder of theirs in the place of ours.
    found = base.stat()
    shared = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
    if shared or found.st_uid not in (0, os.getuid()):
        raise ServerError(f"{base} is open to other users.")


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
