"""Cancels a queue's jobs: those that wait are removed, those that run get a request, which their workers look for."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from oxherd.bullmq.answers import end_field
from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.scripts import script
from oxherd.context import Cancelled


class CancelReply(IntEnum):
    """What became of a wish to cancel a job."""

    NOTHING = 0  # it has ended, or is not stored
    DONE = 1  # it is removed, or its worker will hear of it
    BEFORE = 2  # it was cancelled before
    TICK = -8  # it is a schedule's next tick


async def cancel_job(queue: BullQueue, job_id: str, reason: str, *, only_waiting: bool = False) -> CancelReply:
    """Cancel a job, in one attempt; `only_waiting`: unless it runs. Script: removeJob.

    Redis: of one that is removed, the key `answer:<id>`, and the field `ox:cancelled` of the entry `removed` in
    BullMQ's event stream; of another one its field `ox:cancel`, and the set `cancels`.

    Raises:
        RedisUnavailable, ScriptError: as `Client.script`.
    """
    k = queue.keys
    clustered = "1" if queue.client.url.topology == "cluster" else ""
    _, end = end_field("cancelled", Cancelled.__name__, reason)
    arguments = (k.job(job_id), k.repeat, job_id, "0", k.base, reason, clustered, end, "1" if only_waiting else "")
    return CancelReply(await queue.client.script(k.slot, script("cancel"), arguments))


async def cancel_requests(queue: BullQueue) -> dict[bytes, str]:
    """The reasons for which jobs that run are to be cancelled, by their ids. Script: cancel_requests.

    Raises:
        RedisUnavailable, ScriptError: as `Client.script`.
    """
    k = queue.keys
    flat: list[Any] = await queue.client.script(k.slot, script("cancel_requests"), (k.cancels, k.base))
    return dict(zip(flat[::2], map(_text, flat[1::2]), strict=True))


async def cancel_reason(queue: BullQueue, job_id: str) -> str:
    """Why a job is to be cancelled; "" if it is not, or for no reason. Command: HGET.

    Raises:
        RedisUnavailable, ScriptError: as `Client.call`.
    """
    k = queue.keys
    return _text(await queue.client.call(k.slot, "HGET", k.job(job_id), "ox:cancel") or b"")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
