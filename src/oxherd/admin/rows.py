"""What `herd.admin` returns: plain values, of payloads and errors only what the log may show."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from oxherd.admin.figures import HistoryRow
from oxherd.admin.selection import SearchState
from oxherd.limits import Limits
from oxherd.payload.failure import EventError
from oxherd.schedule.info import ScheduleInfo


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event, with what all of its queues hold now.

    Attributes:
        queues: the names of its queues, its shards in order.
        shared_with: the other events of its queue; the numbers are the whole queue's then.
        waiting: what could begin now, those with a priority included.
        delayed: what is not due yet, and what its key holds back (`per_key`).
        waiting_children: what waits for its children, which only Node's flows have.
        failed, completed: how many are kept, not how many ever were.
        oldest_at: since when the next one to begin could have begun; None if none waits without a priority.
        oldest_seconds: its age, by the server's clock.
        next_due_at: when the first of the delayed is due.
        last_failed_at: when the last of those kept has failed.
        paused: whether its first queue is paused.
        paused_queues: how many of its queues are; other than none or all, a pause has reached it in part.
        workers: how many live workers process it.
        limits: its rate and how many may run at once, whoever has set them, of a queue of its own; and those of each of
            its keys.
        limited_until: until when it begins none, since its rate is spent or it rests after a RateLimited.
        recent: its runs of the last five to six minutes, with their rates, and p50 and p95 of running and waiting; of
            this event alone, also where it shares its queue.
    """

    name: str
    queues: tuple[str, ...]
    shared_with: tuple[str, ...]
    waiting: int
    running: int
    delayed: int
    waiting_children: int
    failed: int
    completed: int
    oldest_at: datetime | None
    oldest_seconds: float | None
    next_due_at: datetime | None
    last_failed_at: datetime | None
    paused: bool
    paused_queues: int
    workers: int
    limits: Limits
    limited_until: datetime | None
    recent: HistoryRow


@dataclass(frozen=True, slots=True)
class FoundEvent:
    """One event that `find` has found, as it was then.

    Attributes:
        id: its UUID; of a job whose id is none, the one that its log lines have.
        event: its name; None for a job of a name that no event of the herd has.
        queue: the name of its queue.
        attempt: from 1: the current one, or the last if it has ended; 1 for one that has not begun.
        held: whether it is limited by its key, and waits for others of that; it is found among the delayed.
        error: what failed its last run, redacted as the log is; None where nothing did.
        outcome: how its last run ended, in the log's words; None where that is not known.
        age: seconds since its emit, by the server's clock.
    """

    id: UUID
    event: str | None
    queue: str
    state: SearchState
    attempt: int
    held: bool
    error: EventError | None
    outcome: str | None
    emitted_at: datetime | None
    due_at: datetime | None
    began_at: datetime | None
    ended_at: datetime | None
    age: float | None


@dataclass(frozen=True, slots=True)
class AttemptInfo:
    """One run of an event, as far as it is stored; None for what is not known of it.

    Attributes:
        number: which attempt it was, from 1. A run that was put back, or lost, has the same as the next one.
        fence: which begin of the event it was, from 1.
        worker: the id of the worker that ran it (`WorkerInfo.id`).
        ended_at: None while it runs, and where its worker was lost.
        seconds: how long it ran; of one that runs still, until now.
        outcome: what became of the event by it, in the log's words; `lost` where its worker died or lost its lock.
        error: what failed it, redacted as the log is; `stack` has its frames, innermost first.
    """

    number: int | None
    fence: int | None
    worker: str | None
    began_at: datetime | None
    ended_at: datetime | None
    seconds: float | None
    outcome: str | None
    error: EventError | None
    stack: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Story:
    """One event's whole story, as far as it is stored.

    Attributes:
        state: `waiting`, `delayed`, `running`, `waiting_children`, `completed` or `failed`.
        paused: whether its queue is.
        held: whether its key's limits, or a pause of the key, hold it back.
        attempt, attempts_allowed, fence, stalls: the current or last attempt, how many it has, how often it was begun,
            and how often its worker died over it.
        outcome: how its last run ended, in the log's words; None where that is not known.
        expires_at: when it is too late to begin it for the first time.
        cancel_reason: why it is to be cancelled, if it is; redacted.
        schedule: the schedule that it is a tick of.
        caused_by, root: the event whose handler emitted it, and the first of all; None for one emitted elsewhere.
        attempts: its runs, oldest first, the last ten.
        payload: what the log may show of it (JSON), or None.
        payload_note: why nothing is shown of it, in a few words; None where `payload` is what the log shows.
        payload_bytes: how long its stored JSON is.
        progress: a number that its handler stored; other values may hold anything, and are not shown.
        notes: the last 100 lines of its job log (`Context.note`), without what the log does not show of its payload.
        not_known: sentences on what of the story is not stored.
    """

    id: UUID
    event: str | None
    queue: str
    state: str
    paused: bool
    held: bool
    attempt: int
    attempts_allowed: int
    fence: int
    stalls: int
    priority: int
    outcome: str | None
    error: EventError | None
    worker: str | None
    emitted_at: datetime | None
    due_at: datetime | None
    began_at: datetime | None
    ended_at: datetime | None
    expires_at: datetime | None
    cancel_reason: str | None
    schedule: str | None
    caused_by: UUID | None
    root: UUID | None
    attempts: tuple[AttemptInfo, ...]
    payload: Any
    payload_note: str | None
    payload_bytes: int
    progress: float | None
    notes: tuple[str, ...]
    not_known: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Effects:
    """What an event has caused, as far as it is stored.

    Attributes:
        events: those that were found, the first emitted first.
        searched_all: whether every stored event was looked at. Events that have ended and are not kept are not found.
    """

    events: tuple[FoundEvent, ...]
    searched_all: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a bulk operation is.

    Attributes:
        done: on how many it has acted.
        skipped: how many it has left alone: another state, or not to be acted on.
        total: how many there are to look at; None where the selection has to be searched for.
    """

    done: int
    skipped: int
    total: int | None


@dataclass(frozen=True, slots=True)
class Summary:
    """What a bulk operation has done.

    Attributes:
        action: `retry`, `discard`, `cancel`, `promote` or `move`.
        complete: whether it came to the end of its selection; else it was stopped, and the same call goes on.
        problems: sentences on what could not be acted on, each once, at most ten.
        until: with the same selection, pass it to go on without what has failed anew since; None for ids.
    """

    action: str
    done: int
    skipped: int
    total: int | None
    complete: bool
    problems: tuple[str, ...]
    until: datetime | None


@dataclass(frozen=True, slots=True)
class KeyRow:
    """The key of which most of an event waits, where the event has `per_key`. The key itself is not stored.

    Attributes:
        waiting: how many of it wait or are delayed, estimated from a sample of up to 1,000 of its shard's jobs.
        of: how many of the event wait or are delayed on that shard.
        held: how many its limits, or a pause, hold back.
        example: one of them.
    """

    event: str
    waiting: int
    of: int
    held: int
    paused: bool
    example: UUID


@dataclass(frozen=True, slots=True)
class UnknownQueue:
    """A queue of the herd's prefix that none of its events has, such as that of a renamed event.

    Attributes:
        name: as `move` takes it; of an event with shards, the plain one.
        queues: the names of all that it stands for.
        schedules: how many schedules it has, which `move` leaves.
        workers: how many live workers serve it.
    """

    name: str
    queues: tuple[str, ...]
    waiting: int
    running: int
    delayed: int
    failed: int
    completed: int
    schedules: int
    workers: int
    oldest_at: datetime | None


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """A schedule of an event."""

    event: str
    info: ScheduleInfo
