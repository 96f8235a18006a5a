"""The replies of BullMQ's scripts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from oxherd.bullmq.job import Job, decode


class Refusal(IntEnum):
    """Why a job cannot be moved: BullMQ's codes (`error-code.ts`), and below -100 ours."""

    MISSING = -1
    LOCK_MISSING = -2
    NOT_ACTIVE = -3
    PENDING_CHILDREN = -4
    LOCK_TAKEN = -6
    FAILED_CHILDREN = -9
    PARENT_ELSEWHERE = -101
    PARENT_DAMAGED = -102
    CANCELLED = -103


@dataclass(slots=True)
class Fetched:
    """The result of a fetch: a job, or when to try again, in milliseconds."""

    job: Job | None = None
    limited_ms: int = 0
    delayed_until_ms: int = 0


NOTHING = Fetched()


def fetched(reply: Any, token: str) -> Fetched:
    """Decode the reply of a fetch: `[fields, id, limit, delayed until]`, or 0 if there is nothing."""
    if not isinstance(reply, list):
        return NOTHING
    raw: list[Any] = reply  # pyright: ignore[reportUnknownVariableType]
    if raw[0]:
        return Fetched(decode(raw[1], raw[0], token))
    return Fetched(None, int(raw[2]), due_ms(raw[3]) if len(raw) > 3 else 0)


def due_ms(reply: int) -> int:
    """When the next delayed job is due; 0 where its score is no time: Redis makes an infinity a negative number."""
    return max(0, int(reply))
