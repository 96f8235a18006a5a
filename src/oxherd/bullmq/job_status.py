"""How a job is doing, as Redis has it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from oxherd.bullmq.answers import end_words
from oxherd.bullmq.clock import bounded_ms
from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.scripts import script
from oxherd.payload.surrogates import replace_lone_surrogates

_STATES = {b"waiting-children": "waiting_children"}


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A stored job; times are in milliseconds since the Unix epoch, 0 where there is none.

    `held`: its key has no room for it. `error_type` is "" where another program wrote `reason`; `worker` is BullMQ's
    `processedBy`; `position` is the last id of the queue's event stream at that moment.
    """

    position: bytes
    state: str
    paused: bool
    held: bool
    due_ms: int
    emitted_ms: int
    attempts_made: int
    fence: int
    progress: Any
    reason: str
    outcome: str
    error_type: str
    worker: str
    began_ms: int
    ended_ms: int
    name: str


async def job_status(queue: BullQueue, job_id: str) -> JobStatus | None:
    """A job's status; None if it is not stored. Script: status.

    Raises:
        RedisUnavailable, ScriptError: as `Client.script`.
    """
    k = queue.keys
    reply: Any = await queue.client.script(k.slot, script("status"), (k.job(job_id), k.base, job_id))
    if not isinstance(reply, list):
        return None
    fields: list[bytes] = [value or b"" for value in reply]  # pyright: ignore[reportUnknownVariableType]
    position, state, paused, held, due, emitted, made, fence, progress, reason, end, worker, began, ended, name = fields
    outcome, error_type = end_words(end, reason)
    return JobStatus(
        position=position,
        state=_STATES.get(state, state.decode()),
        paused=bool(paused),
        held=bool(held),
        due_ms=bounded_ms(_number(due)),
        emitted_ms=bounded_ms(_number(emitted)),
        attempts_made=_number(made),
        fence=_number(fence),
        progress=progress_value(progress),
        reason=reason.decode("utf-8", "replace"),
        outcome=outcome,
        error_type=error_type,
        worker=worker.decode("utf-8", "replace"),
        began_ms=bounded_ms(_number(began)),
        ended_ms=bounded_ms(_number(ended)),
        name=name.decode("utf-8", "replace"),
    )


async def stored_payload(queue: BullQueue, job_id: str) -> tuple[str, bytes | None]:
    """A job's name and its payload as it is stored; "" and None where it is not. Command: HMGET.

    Raises:
        RedisUnavailable, ScriptError: as `Client.call`.
    """
    k = queue.keys
    name, data = await queue.client.call(k.slot, "HMGET", k.job(job_id), "name", "data")
    return (name or b"").decode("utf-8", "replace"), data


def _number(field: Any) -> int:
    """A number that any program may have written; 0 if it is none."""
    try:
        return max(0, int(field[:20]))
    except ValueError:
        return 0


def progress_value(field: bytes) -> Any:
    """A job's progress, which any program may have written; None where it is no JSON."""
    try:
        return json.loads(replace_lone_surrogates(field)) if field else None
    except (ValueError, RecursionError):
        return None
