"""A job as a worker receives it: decoded without ever raising, since any program may have written it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

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
        options = json.loads(raw) if raw else {}
    except ValueError:
        return JobOptions(damaged=True)
    if not isinstance(options, dict):
        return JobOptions(damaged=True)
    parsed: dict[str, Any] = options  # pyright: ignore[reportUnknownVariableType]
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
    hash_ = dict(zip(fields[::2], fields[1::2], strict=False))
    get = hash_.get
    name, data = get(b"name"), get(b"data")
    damage = None
    if name is None or data is None:
        damage = "its name or data is missing"
    numbers = [_number(get(key)) for key in (b"timestamp", b"atm", b"ats", b"stc")]
    if -1 in numbers:
        damage = damage or "a counter is not a number"
    scheduler, deferred = get(b"rjk"), get(b"defa")
    return Job(
        id=job_id.decode("utf-8", "backslashreplace"),
        token=token,
        name=(name or b"").decode("utf-8", "backslashreplace"),
        data=data or b"",
        raw_options=get(b"opts", b""),
        timestamp_ms=max(0, numbers[0]),
        attempts_made=max(0, numbers[1]),
        fence=max(0, numbers[2]),
        stalled=max(0, numbers[3]),
        deferred_failure=deferred.decode("utf-8", "replace") if deferred else None,
        scheduler=scheduler.decode("utf-8", "backslashreplace") if scheduler else None,
        stacktrace=get(b"stacktrace", b""),
        damage=damage,
    )


def _number(value: bytes | None) -> int:
    if value is None:
        return 0
    return int(value) if value.isdigit() and len(value) < 19 else -1


def event_id(queue: str, job_id: str) -> UUID:
    """The UUID of a job: its id where that is one, else derived (version 5) from queue and id, the same everywhere."""
    if len(job_id) == 36:
        try:
            return UUID(job_id)
        except ValueError:
            pass
    return uuid5(NAMESPACE_URL, f"oxherd:{queue}:{job_id}")
