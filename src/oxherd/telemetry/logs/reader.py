"""Reads the JSON log back, whatever bytes it holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NoReturn, cast

Record = dict[str, Any]


def read_records(source: bytes | Path, on_other: Callable[[bytes], None] | None = None) -> Iterator[Record]:
    """Yield the records of a log, given as bytes or a path: each complete line that is a JSON object.

    Calls `on_other` with each other complete line. Leaves out an unfinished last line. No content makes it raise.

    Raises:
        OSError: the file cannot be opened.
    """
    with BytesIO(source) if isinstance(source, bytes) else source.open("rb") as lines:
        for line in lines:
            record = _record(line) if line.endswith(b"\n") else None
            if record is not None:
                yield record
            elif line.endswith(b"\n") and on_other is not None:
                on_other(line)


def _record(line: bytes) -> Record | None:
    try:
        found: Any = json.loads(line.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return cast("Record", found) if isinstance(found, dict) else None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
