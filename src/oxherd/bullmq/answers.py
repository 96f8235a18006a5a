"""What became of a job: asked for by a script of ours, or found in BullMQ's event stream."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any
from zlib import crc32

from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.scripts import script

# In BullMQ's event stream.
COMPLETED, FAILED, REMOVED = b"completed", b"failed", b"removed"
# The reason of a job that was dropped, by which the stream tells it from others.
EXPIRED = b"expired before its first begin"
_CHUNK = 1000


class NoAnswer(Enum):
    """Why a job has no answer."""

    STORED = auto()  # not yet: it waits or runs
    GONE = auto()


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a job ended for good.

    Attributes:
        completed: whether it did; else it failed, or was removed.
        value: its result's JSON, or the reason of its failure.
        removed: it was cancelled and removed; its id may have been emitted again since.
        outcome: the contract's word, "" if another program ended it; `error` is the type of what failed it.
    """

    completed: bool
    value: bytes
    outcome: str = ""
    error: str = ""
    removed: bool = False

    @property
    def final_outcome(self) -> str:
        """The outcome, also of what another program ended."""
        return self.outcome or ("completed" if self.completed else "failed")


async def ask(queue: BullQueue, job_id: str) -> JobEnd | NoAnswer:
    """How a job ended; if it has not, it leaves that for a minute when it does.

    Redis: the job's field `ox:asked`, the key `answer:<id>`. Script: ask.

    Raises:
        RedisUnavailable, ScriptError: as `Client.script`.
    """
    k = queue.keys
    reply: list[Any] = await queue.client.script(k.slot, script("ask"), (k.job(job_id), k.base, job_id))
    state: bytes = reply[0]
    if state == b"stored":
        return NoAnswer.STORED
    if state == b"gone":
        return NoAnswer.GONE
    outcome, error = end_words(reply[2], reply[1])
    return JobEnd(state == COMPLETED, reply[1], outcome, error, state == REMOVED)


def end_field(outcome: str, error: str, reason: str) -> list[Any]:
    """The field that a failed run leaves in its job, with its value: the outcome, and the type of its error."""
    return ["ox:end", f"{outcome} {error} {crc32(reason.encode()):x}"]


def end_words(field: bytes, reason: bytes) -> tuple[str, str]:
    """The outcome and error type in such a field; both "" if another program has failed the job since."""
    words = field.decode("utf-8", "replace").split(" ")
    return (words[0], words[1]) if len(words) == 3 and words[2] == f"{crc32(reason):x}" else ("", "")


async def find_ends(queue: BullQueue, job_ids: Collection[str]) -> dict[str, JobEnd]:
    """How jobs ended that are gone, as far as the event stream still says. Command: XREVRANGE.

    Raises:
        RedisUnavailable, ScriptError: as `Client.call`.
    """
    missing = {job_id.encode(): job_id for job_id in job_ids}
    found: dict[str, JobEnd] = {}
    upper = b"+"
    while missing:
        k = queue.keys
        entries: list[Any] = await queue.client.call(k.slot, "XREVRANGE", k.events, upper, "-", "COUNT", _CHUNK)
        for _, flat in entries:
            fields = entry_fields(flat)
            job_id = fields.get(b"jobId", b"")
            if job_id in missing and (end := job_end(fields)) is not None:
                found[missing.pop(job_id)] = end
        if len(entries) < _CHUNK:
            break
        upper = b"(" + entries[-1][0]
    return found


def entry_fields(flat: list[bytes]) -> dict[bytes, bytes]:
    """The fields of a stream's entry."""
    return dict(zip(flat[::2], flat[1::2], strict=False))


def job_end(fields: dict[bytes, bytes]) -> JobEnd | None:
    """The end that an entry of the event stream tells of; None if it tells of something else."""
    event = fields.get(b"event")
    if event == COMPLETED:
        return JobEnd(True, fields.get(b"returnvalue", b"null"))
    if event == FAILED:
        reason = fields.get(b"failedReason", b"")
        return JobEnd(False, reason, "expired", "EventExpired") if reason == EXPIRED else JobEnd(False, reason)
    cancelled = fields.get(b"ox:cancelled")
    return JobEnd(False, cancelled, "cancelled") if event == REMOVED and cancelled is not None else None
