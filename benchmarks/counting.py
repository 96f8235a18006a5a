"""How many events a worker's processes have handled, read from the mapped files that they count in."""

from __future__ import annotations

import os
import struct
from pathlib import Path


class Count:
    """The sum of `count.<pid>` in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, int] = {}

    def total(self) -> int:
        """The events handled so far."""
        for entry in os.scandir(self._folder):
            if entry.name.startswith("count.") and entry.name not in self._files:
                self._files[entry.name] = os.open(entry.path, os.O_RDONLY)
        return sum(_number(os.pread(file, 8, 0)) for file in self._files.values())

    def samples(self) -> list[int]:
        """Microseconds from emit to handler, in the order of handling per process."""
        found: list[int] = []
        for file in self._files.values():
            count = _number(os.pread(file, 8, 0))
            data = os.pread(file, 8 * count, 8)
            found.extend(value for (value,) in struct.iter_unpack("=q", data))
        return found

    def close(self) -> None:
        """Let the files go."""
        while self._files:
            os.close(self._files.popitem()[1])


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True) if len(data) == 8 else 0
