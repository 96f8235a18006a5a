"""The runs of a job, in its field `ox:runs`: the last ten, a line of JSON each, no more than 1.5 KB.

`lua/check_stalled.lua` writes a line as well. Any program may have written the field: what is read is bounded, and
checked.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, cast

from oxherd.bullmq.clock import LATEST_MS

MOST: Final = 10
LONGEST: Final = 1_536
_LONGEST_WORKER: Final = 300
# The whole message is in BullMQ's stack trace.
_LONGEST_TYPE, _LONGEST_MESSAGE = 60, 60


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a job.

    Attributes:
        began_ms: in milliseconds since the Unix epoch, by the worker's clock.
        ran_ms: how long it ran; None where nobody knows.
        error_type, message: what failed it, redacted and cut; "" where nothing did.
    """

    attempt: int
    fence: int
    worker: str
    began_ms: int
    ran_ms: int | None
    outcome: str
    error_type: str = ""
    message: str = ""

    @property
    def trace_start(self) -> str:
        """How the trace begins that its failure has left; "" if nothing failed it."""
        is_cut = len(self.error_type) >= _LONGEST_TYPE
        return self.error_type if is_cut or not self.error_type else f"{self.error_type}: {self.message}"


def with_run(stored: bytes, run: Run) -> str:
    """What the field holds after another run; the oldest ones leave it."""
    line = json.dumps(
        [
            run.attempt, run.fence, run.worker[:_LONGEST_WORKER], run.began_ms, run.ran_ms, run.outcome,
            run.error_type[:_LONGEST_TYPE], run.message[:_LONGEST_MESSAGE],
        ],
        ensure_ascii=False, separators=(",", ":"),
    )  # fmt: skip
    # JSON escapes half a character as this does; a name in Redis may be no UTF-8.
    line = line.encode("utf-8", "backslashreplace").decode()
    older = stored.decode("utf-8", "replace").split("\n")[-(MOST - 1) :] if stored and len(stored) <= LONGEST else []
    sizes = [len(each.encode()) + 1 for each in older]
    size = len(line.encode()) + sum(sizes)
    first = 0
    while size > LONGEST and first < len(older):
        size -= sizes[first]
        first += 1
    return "\n".join([*older[first:], line])


def run_fields(stored: str) -> list[Any]:
    """The field as BullMQ's scripts take it; nothing where it is empty."""
    return ["ox:runs", stored] if stored else []


def runs_of(stored: bytes) -> list[Run]:
    """The runs that are stored, oldest first; what we have not written is left out."""
    if not stored or len(stored) > LONGEST:
        return []
    return [run for line in stored.split(b"\n")[-MOST:] if (run := _run(line)) is not None]


def _run(line: bytes) -> Run | None:
    try:
        found: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, list) or len(cast("list[Any]", found)) != 8:
        return None
    attempt, fence, worker, began_ms, ran_ms, *texts = cast("list[Any]", found)
    counts = (attempt, fence, began_ms, 0 if ran_ms is None else ran_ms)
    if not all(type(each) is int and 0 <= each <= LATEST_MS // 2 for each in counts):
        return None
    if not all(type(each) is str for each in (worker, *texts)):
        return None
    # Half of a character that JSON has escaped has no UTF-8.
    outcome, error_type, message = (each.encode("utf-8", "replace").decode() for each in texts)
    worker = worker.encode("utf-8", "replace").decode()
    return Run(attempt, fence, worker, began_ms, ran_ms, outcome, error_type, message)
