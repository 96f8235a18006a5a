"""What BullMQ's scripts answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from oxherd.bullmq.job import Job, decode


class Refusal(IntEnum):
    """Answers that a job cannot be moved as asked: BullMQ's (`error-code.ts`), and below -100 ours (parents.lua)."""

    MISSING = -1
    LOCK_MISSING = -2
    NOT_ACTIVE = -3
    PENDING_CHILDREN = -4
    LOCK_TAKEN = -6
    FAILED_CHILDREN = -9
    PARENT_ELSEWHERE = -101
    PARENT_DAMAGED = -102


@dataclass(slots=True)
class Fetched:
    """What a fetch brought: a job, or why there is none."""

    job: Job | None = None
    limited_ms: int = 0
    delayed_until_ms: int = 0


NOTHING = Fetched()


def fetched(answer: Any, token: str) -> Fetched:
    """A fetch's answer `[fields, id, limit, delayed until]`, or 0 where nothing was asked for or found."""
    if not isinstance(answer, list):
        return NOTHING
    raw: list[Any] = answer  # pyright: ignore[reportUnknownVariableType]
    if raw[0]:
        return Fetched(decode(raw[1], raw[0], token))
    return Fetched(None, int(raw[2]), int(raw[3]) if len(raw) > 3 else 0)
