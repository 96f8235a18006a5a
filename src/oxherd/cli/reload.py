"""Polls a folder for changed Python files."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path

_EVERY_SECONDS = 0.5
_SKIPPED = frozenset({"node_modules", "__pycache__"})
# In every virtual environment, whatever its folder is called.
_VIRTUAL_ENVIRONMENT = "pyvenv.cfg"

Files = dict[str, tuple[int, int]]


def scan(folder: Path) -> Files:
    """The modification time and size of each Python file below `folder`, without hidden folders and libraries."""
    return dict(_files(str(folder)))


async def watch(folder: Path, known: Files, on_change: Callable[[list[str]], None]) -> None:
    """Call `on_change` with the files that were added, removed or changed, until cancelled."""
    while True:
        await asyncio.sleep(_EVERY_SECONDS)
        now = await asyncio.to_thread(scan, folder)
        changed = sorted(name for name in known.keys() | now.keys() if known.get(name) != now.get(name))
        known = now
        if changed:
            on_change([name.removeprefix(f"{folder}{os.sep}") for name in changed])


def _files(folder: str) -> Iterator[tuple[str, tuple[int, int]]]:
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return  # removed since its parent was read, or not readable
    if any(entry.name == _VIRTUAL_ENVIRONMENT for entry in entries):
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if not entry.name.startswith(".") and entry.name not in _SKIPPED:
                yield from _files(entry.path)
        elif entry.name.endswith(".py"):
            try:
                found = entry.stat()
            except FileNotFoundError:
                continue
            yield entry.path, (found.st_mtime_ns, found.st_size)
