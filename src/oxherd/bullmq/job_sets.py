"""Where a queue keeps the jobs of a state: its lists and sorted sets, and pages of what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from oxherd.bullmq.answers import end_words
from oxherd.bullmq.clock import bounded_ms
from oxherd.bullmq.options import options_of
from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.scripts import script
from oxherd.lineage import CAUSED_BY

Order = Literal["head", "tail", "low", "high"]

PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class JobSet:
    """A list or sorted set, by its key's last part; `order` is that in which its jobs are read.

    `ended`: its scores are the times at which the jobs have ended.
    """

    key: str
    order: Order
    ended: bool = False

    @property
    def is_list(self) -> bool:
        """Whether it is a list, in which a job is looked for from one end to the other."""
        return self.order in ("head", "tail")


# The next to begin first, or the last that has ended.
SETS: Final[Mapping[str, tuple[JobSet, ...]]] = {
    "waiting": (JobSet("wait", "tail"), JobSet("paused", "tail"), JobSet("prioritized", "low")),
    "delayed": (JobSet("delayed", "low"),),
    "running": (JobSet("active", "tail"),),
    "waiting_children": (JobSet("waiting-children", "low"),),
    "completed": (JobSet("completed", "high", ended=True),),
    "failed": (JobSet("failed", "high", ended=True),),
}


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs of a set are found; "" and None: any. Times are in milliseconds, `text` is in small letters.

    `caused_by`: the UUID of the event whose handler emitted them.
    """

    name: str = ""
    text: str = ""
    error_type: str = ""
    least_ms: int | None = None
    greatest_ms: int | None = None
    caused_by: str = ""


class Cursor(NamedTuple):
    """A job of a set, after which the next page begins: its id, and its index or score."""

    id: bytes = b""
    at: bytes = b""


@dataclass(frozen=True, slots=True)
class FoundJob:
    """A job as a page has it; times are in milliseconds since the Unix epoch, 0 where there is none.

    `held`: its key holds it back, so that it waits, though it is in `delayed`. `ours`: a worker of ours has failed it
    last, and written a `reason` that is redacted.
    """

    cursor: Cursor
    name: str
    emitted_ms: int
    due_ms: int
    began_ms: int
    ended_ms: int
    attempts_made: int
    fence: int
    reason: str
    outcome: str
    error_type: str
    ours: bool
    held: bool


class Page(NamedTuple):
    """A page of a set: the jobs that were found; the last that was looked at, and the last one not found, if any."""

    jobs: list[FoundJob]
    at_end: bool
    looked_at: int
    server_ms: int
    last: Cursor
    other: Cursor


async def read_page(
    queue: BullQueue, jobs: JobSet, wanted: JobFilter, after: Cursor, *, look_at: int = PAGE, most: int = PAGE
) -> Page:
    """The jobs after one that are wanted, among the next `look_at`, at most `most`. Script: find.

    Raises:
        RedisUnavailable, ScriptError: as `Client.script`.
    """
    k = queue.keys
    # As it stands in the options' JSON, which is a text in a text.
    caused = f'{CAUSED_BY}\\":\\"{wanted.caused_by}' if wanted.caused_by else ""
    times = ["" if each is None else each for each in (wanted.least_ms, wanted.greatest_ms)]
    arguments = (
        k.base + jobs.key, k.base, jobs.order, after.id, after.at, look_at, most, wanted.name, wanted.text,
        wanted.error_type, *times, "1" if jobs.ended else "", caused,
    )  # fmt: skip
    at_end, looked, now, last, last_at, other, other_at, *rows = await queue.client.script(
        k.slot, script("find"), arguments
    )
    found = [_job(row, jobs) for row in rows]
    return Page(found, bool(at_end), int(looked), int(now), Cursor(last, last_at), Cursor(other, other_at))


async def count(queue: BullQueue, jobs: JobSet, wanted: JobFilter) -> int:
    """How many jobs a set holds; of ended ones, those of the times that are wanted. Command: LLEN, ZCARD or ZCOUNT.

    Raises:
        RedisUnavailable, ScriptError: as `Client.call`.
    """
    k = queue.keys
    key = k.base + jobs.key
    if jobs.is_list:
        return int(await queue.client.call(k.slot, "LLEN", key))
    if jobs.ended and (wanted.least_ms is not None or wanted.greatest_ms is not None):
        least = "-inf" if wanted.least_ms is None else wanted.least_ms
        greatest = "+inf" if wanted.greatest_ms is None else wanted.greatest_ms
        return int(await queue.client.call(k.slot, "ZCOUNT", key, least, greatest))
    return int(await queue.client.call(k.slot, "ZCARD", key))


async def newest_ids(queue: BullQueue, jobs: JobSet, most: int) -> list[bytes]:
    """The ids of up to `most` jobs, those that were last put there. Command: LRANGE or ZRANGE.

    Raises:
        RedisUnavailable, ScriptError: as `Client.call`.
    """
    k = queue.keys
    if jobs.is_list:
        return list(await queue.client.call(k.slot, "LRANGE", k.base + jobs.key, 0, most - 1))
    return list(await queue.client.call(k.slot, "ZRANGE", k.base + jobs.key, -most, -1))


def _job(row: list[bytes], jobs: JobSet) -> FoundJob:
    job_id, at, name, emitted, made, fence, reason, end, began, ended, raw_options, deferred, held = row
    outcome, error_type = end_words(end, reason)
    emitted_ms = bounded_ms(number(emitted))
    if jobs.key == "delayed" and not held:
        due_ms = bounded_ms(number(at) // 0x1000)  # the time is in the score's upper bits
    else:
        options, _ = options_of(raw_options)
        due_ms = emitted_ms + options.delay_ms if emitted_ms else 0
    return FoundJob(
        Cursor(job_id, at),
        name.decode("utf-8", "replace"),
        emitted_ms,
        due_ms,
        bounded_ms(number(began)),
        bounded_ms(number(ended)),
        number(made),
        number(fence),
        (reason or deferred).decode("utf-8", "replace"),
        outcome,
        error_type,
        bool(outcome),
        bool(held),
    )


def number(field: bytes | None) -> int:
    """A number that any program may have written, without its fraction; 0 if it is none."""
    try:
        return max(0, int(float((field or b"0")[:32])))
    except (ValueError, OverflowError):
        return 0
