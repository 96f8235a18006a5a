"""What is done with one job: retried, discarded, cancelled or promoted."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import TypeVar

from oxherd.admin.selection import Selection
from oxherd.admin.target import Herd
from oxherd.answers.job_cancel import cancel_until
from oxherd.bullmq.cancellation import CancelReply
from oxherd.bullmq.promotion import promote
from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.removal import Removal, remove_job
from oxherd.bullmq.reprocess import reprocess
from oxherd.errors import RedisUnavailable, UsageError
from oxherd.redis.retry import retry_until

T = TypeVar("T")


class Acted(Enum):
    """What became of one job."""

    DONE = auto()
    SKIPPED = auto()  # it is in another state by now
    TICK = auto()  # it is a schedule's next tick, and left


Act = Callable[[Herd, BullQueue, bytes], Awaitable[Acted]]

_TICK = b"repeat:"


def action_of(name: str, selection: Selection, reason: str = "") -> Act:
    """What `retry`, `discard`, `cancel` or `promote` does; raises UsageError where it cannot be done in that state."""
    if name == "cancel":
        return lambda herd, queue, job_id: _cancel(herd, queue, job_id, reason)
    if name != "discard":
        return {"retry": _retry, "promote": _promote}[name]
    if selection.state in ("failed", "completed"):
        return lambda herd, queue, job_id: _remove(herd, queue, job_id, selection.state)
    if selection.state in ("waiting", "delayed"):
        return lambda herd, queue, job_id: _cancel(herd, queue, job_id, "discarded", only_waiting=True)
    raise UsageError(f"discard leaves what is {selection.state.replace('_', ' ')}; cancel it.")


async def _retry(herd: Herd, queue: BullQueue, job_id: bytes) -> Acted:
    reply, maybe_done = await _insisted(herd, lambda: reprocess(queue, job_id.decode()))
    return Acted.DONE if reply > 0 or maybe_done else Acted.SKIPPED


async def _promote(herd: Herd, queue: BullQueue, job_id: bytes) -> Acted:
    if job_id.startswith(_TICK):
        return Acted.TICK
    reply, maybe_done = await _insisted(herd, lambda: promote(queue, job_id))
    return Acted.DONE if reply == 0 or maybe_done else Acted.SKIPPED


async def _remove(herd: Herd, queue: BullQueue, job_id: bytes, state: str) -> Acted:
    reply, maybe_done = await _insisted(herd, lambda: remove_job(queue, job_id.decode(), state))
    return Acted.DONE if reply is Removal.DONE or maybe_done else Acted.SKIPPED


async def _cancel(herd: Herd, queue: BullQueue, job_id: bytes, reason: str, *, only_waiting: bool = False) -> Acted:
    deadline = time.monotonic() + herd.emit_timeout
    reply = await cancel_until(queue, job_id.decode(), reason, deadline, only_waiting=only_waiting)
    if reply is CancelReply.TICK:
        return Acted.TICK
    return Acted.DONE if reply is CancelReply.DONE else Acted.SKIPPED


async def _insisted(herd: Herd, attempt: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
    """A reply, and whether an attempt whose reply was lost may have done it before."""
    maybe_done = False

    async def once() -> T:
        nonlocal maybe_done
        try:
            return await attempt()
        except RedisUnavailable as error:
            maybe_done = maybe_done or error.maybe_applied
            raise

    reply = await retry_until(time.monotonic() + herd.emit_timeout, once)
    return reply, maybe_done
