"""What the commands know as JSON lines: the fields of a row are the keys, which stay as they are."""

from __future__ import annotations

import json
import sys
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

from oxherd.payload.failure import EventError
from oxherd.schedule.cron import Cron
from oxherd.schedule.every import Every


def write_json(row: Any, **more: Any) -> None:
    """Write a row, with more keys, as one line of ASCII: what could steer a terminal is escaped, as JSON does."""
    text = json.dumps({**_plain(row), **_plain(more)}, ensure_ascii=True, separators=(",", ":"), default=str)
    # The one control character that JSON leaves as it is.
    sys.stdout.write(text.replace("\x7f", "\\u007f") + "\n")


def _plain(value: Any) -> Any:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case timedelta():
            return value.total_seconds()
        case UUID() | Cron() | Every():
            return str(value)
        case EventError():
            return {"type": value.type, "message": value.message}
        case list() | tuple():
            return [_plain(each) for each in cast("list[Any]", value)]
        case dict():
            return {str(name): _plain(each) for name, each in cast("dict[Any, Any]", value).items()}
        case _ if is_dataclass(value):
            return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        case _:
            return str(value)
