"""A job as a worker receives it: decoded without ever raising, since any program may have written it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, cast
from uuid import NAMESPACE_URL, UUID, uuid5

_LATEST_MS = 253_402_300_799_000  # the end of the year 9999: datetime knows no later time
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_OPTION_KEYS = ("fpof", "cpof", "idof", "rdof")


@dataclass(frozen=True, slots=True)
class JobOptions:
    """The options of a job that matter to a worker. `damaged` when they are not a JSON object."""

    raw: dict[str, Any] = field(default_factory=dict[str, Any])
    attempts: int | None = None
    damaged: bool = False

    def get(self, name: str) -> Any:
        """An option by BullMQ's name, or None."""
        return self.raw.get(name)

    @property
    def parent_policies(self) -> dict[str, Any]:
        """What BullMQ does to a job's parent when the job fails."""
        return {key: self.raw.get(key, False) for key in _OPTION_KEYS}


@lru_cache(maxsize=1024)
def parse_options(raw: bytes) -> JobOptions:
    """The options from a job's hash; never raises."""
    try:
        options: Any = json.loads(raw) if raw else {}
    except ValueError:
        return JobOptions(damaged=True)
    if not isinstance(options, dict):
        return JobOptions(damaged=True)
    parsed = cast("dict[str, Any]", options)
    attempts = parsed.get("attempts")
    # Node stores 0 where no attempts were asked for.
    usable = isinstance(attempts, int) and not isinstance(attempts, bool) and attempts > 0
    return JobOptions(raw=parsed, attempts=attempts if usable else None)


@dataclass(slots=True)
class Job:
    """One job, begun: its fields as Redis had them, and the token that holds its lock."""

    id: str
    token: str
    name: str
    data: bytes
    raw_options: bytes
    timestamp_ms: int
    attempts_made: int
    fence: int
    stalled: int
    deferred_failure: str | None
    scheduler: str | None
    stacktrace: bytes = b""
    damage: str | None = None

    @property
    def options(self) -> JobOptions:
        """The job's options."""
        return parse_options(self.raw_options)


def decode(job_id: bytes, fields: list[bytes], token: str) -> Job:
    """A job from the flat list of its hash's fields; what is missing or wrong is named in `damage`."""
    get = dict(zip(fields[::2], fields[1::2], strict=False)).get
    name, data = get(b"name"), get(b"data")
    damage = None if name is not None and data is not None else "its name or data is missing"
    try:
        timestamp, made = int(get(b"timestamp", b"0")), int(get(b"atm", b"0"))
        fence, stalled = int(get(b"ats", b"0")), int(get(b"stc", b"0"))
    except ValueError:
        timestamp = made = fence = stalled = 0
        damage = damage or "a counter is not a number"
    scheduler, deferred = get(b"rjk"), get(b"defa")
    return Job(
        _text(job_id),
        token,
        _text(name or b""),
        data or b"",
        get(b"opts", b""),
        min(max(0, timestamp), _LATEST_MS),
        max(0, made),
        max(0, fence),
        max(0, stalled),
        _text(deferred) if deferred else None,
        _text(scheduler) if scheduler else None,
        get(b"stacktrace", b""),
        damage,
    )


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def event_id_text(queue: str, job_id: str) -> str:
    """The UUID of a job, as text: its id where that is one, else derived (version 5) from queue and id, the same
    everywhere."""
    if _UUID.fullmatch(job_id):
        return job_id
    try:
        return str(UUID(job_id)) if len(job_id) == 36 else str(uuid5(NAMESPACE_URL, f"oxherd:{queue}:{job_id}"))
    except ValueError:
        return str(uuid5(NAMESPACE_URL, f"oxherd:{queue}:{job_id}"))
