"""Reads a worker's log and finds records that are not documented."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from oxherd.telemetry.logs.reader import read_records

_ALWAYS = {"ts", "level", "logger", "msg"}
_EVENT = {"event", "event_id", "attempt"}

_DRAINING = re.compile(r"draining \d+ events?; a second signal puts back what runs")

# The records of docs/reference.md with the keys that each may have.
DOCUMENTED: dict[str, set[str]] = {
    "event.begin": _EVENT | {"fence", "payload", "caused_by", "root"},
    "event.end": _EVENT | {"fence", "outcome", "duration_ms", "error", "caused_by", "root"},
    "event.expired": {"event", "event_id", "late_ms", "caused_by", "root"},
    "queue.error": _EVENT | {"source", "queue", "error"},
    "redis.error": {"source", "node", "error"},
    "redis.recovered": {"node", "outage_ms"},
    "worker.blocked": _EVENT | {"blocked_ms", "stack", "lock_held"},
    "worker.unblocked": _EVENT | {"blocked_ms"},
    "redis.embedded": {"project", "url"},
    "event.cancelled": _EVENT,
    "result.dropped": _EVENT | {"error"},
    "worker.paused": {"events", "queue"},
    "worker.resumed": {"events", "queue"},
    "worker.start": {"events", "server", "without_handler"},
    "worker.stop": {
        "events",
        *("drained", "requeued", "cancelled", "stranded", "stuck", "unresolved"),
        *("drained_ids", "requeued_ids", "cancelled_ids", "stranded_ids", "stuck_ids"),
    },
}


@dataclass(slots=True)
class WorkerLog:
    """The records that one worker logged, and the lines that are not documented."""

    records: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    undocumented: list[str] = field(default_factory=list[str])


def read_log(path: Path) -> WorkerLog:
    """Read a worker's standard error, without a last line that its death cut off."""
    log = WorkerLog()
    for fields in read_records(path, lambda line: log.undocumented.append(_shown(line))):
        message = str(fields.get("msg"))
        allowed = set[str]() if _DRAINING.fullmatch(message) else DOCUMENTED.get(message)
        if allowed is None or set(fields) - _ALWAYS - allowed:
            log.undocumented.append(_shown(json.dumps(fields).encode()))
        log.records.append(fields)
    return log


def seconds(record: dict[str, Any]) -> float:
    """The time of a record, in seconds since the Unix epoch."""
    return datetime.fromisoformat(record["ts"]).timestamp()


def _shown(line: bytes) -> str:
    return line.decode("utf-8", "backslashreplace").strip()[:300]
