"""Reads the JSON log back: whatever bytes stand in it, each complete line is a record or is counted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast

# A line longer than that is none of ours; it is not held in memory whole.
LONGEST_LINE = 16 * 1024 * 1024

Record = dict[str, Any]


class LogRecords:
    """Yields the records of a log once, in order: the JSON objects of its complete lines. See `read_records`."""

    others: int
    """How many complete lines so far are none."""
    unfinished: bool
    """Whether the last line had no end yet: its writer was about to write it, or died."""

    def __init__(self, source: bytes | Path, on_other: Callable[[bytes], None] | None = None) -> None:
        self.others = 0
        self.unfinished = False
        self._on_other = on_other
        self._records = self._read(source)

    def __iter__(self) -> Iterator[Record]:
        return self._records

    def _read(self, source: bytes | Path) -> Iterator[Record]:
        with BytesIO(source) if isinstance(source, bytes) else source.open("rb") as lines:
            while line := lines.readline(LONGEST_LINE):
                complete = line.endswith(b"\n")
                record = _record(line) if complete else None
                if record is not None:
                    yield record
                elif complete or _ends(lines):
                    self.others += 1
                    if self._on_other is not None:
                        self._on_other(line)
                else:
                    self.unfinished = True


def read_records(source: bytes | Path, on_other: Callable[[bytes], None] | None = None) -> LogRecords:
    """The records of a log, given as its bytes or its path; it may still grow. No content makes it raise.

    `on_other` is called with each complete line that is no JSON object, its first 16 MiB.

    Raises:
        OSError: the file cannot be opened; at the first record.
    """
    return LogRecords(source, on_other)


def _record(line: bytes) -> Record | None:
    try:
        found: Any = json.loads(line.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return cast("Record", found) if isinstance(found, dict) else None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _ends(lines: BinaryIO) -> bool:
    """Skip the rest of a line that is too long; whether it has an end."""
    rest = b""
    while piece := lines.readline(LONGEST_LINE):
        rest = piece
        if piece.endswith(b"\n"):
            break
    return rest.endswith(b"\n")
