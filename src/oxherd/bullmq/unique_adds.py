"""Adds jobs of which those with one key may make one job together, or have limits together."""

from __future__ import annotations

from functools import partial
from typing import Any

from oxherd.bullmq.clock import now_ms
from oxherd.bullmq.job import NewJob
from oxherd.bullmq.keys import QueueKeys
from oxherd.bullmq.pack import pack
from oxherd.bullmq.scripts import script
from oxherd.redis.client import Argument, CallState, Client
from oxherd.redis.retry import retry


async def add_unique(
    client: Client, keys: QueueKeys, jobs: list[NewJob], *, deadline: float, state: CallState
) -> dict[str, str]:
    """Add jobs of one event, with one delay and priority, in order; returns those that made none, and whose they are.

    Retried and raises as `BullQueue.add`. Redis: the keys `de:<id>` and `dn:<id>`. Script: add_unique.
    """
    arguments = _arguments(keys, jobs)
    confirm_by = deadline if jobs[0].durable else None
    call = partial(client.script, keys.slot, script("add_unique"), arguments, state=state, confirm_by=confirm_by)
    reply: Any = await retry(call, deadline=deadline, state=state)
    return duplicates(jobs, reply, state)


def duplicates(jobs: list[NewJob], reply: list[Any] | None, state: CallState) -> dict[str, str]:
    """The jobs that a script did not add, by their ids, with the ids of those whose duplicates they are.

    `reply` is a list of index and id in turn. A call that had to be repeated finds its own jobs stored: they are no
    duplicates.
    """
    found: dict[str, str] = {}
    told: list[Any] = reply or []
    for index, first in zip(told[::2], told[1::2], strict=True):
        job_id, first_id = jobs[int(index)].id, str(first, "utf-8", "backslashreplace")
        if not (state.repeated and first_id == job_id):
            found[job_id] = first_id
    return found


def _arguments(keys: QueueKeys, jobs: list[NewJob]) -> tuple[Argument, ...]:
    k, first, now = keys, jobs[0], now_ms()
    # To a moment, it is counted now: the job may have waited for others that were sent before it.
    delay_ms = max(1, first.due_ms - now) if first.delay_ms and first.due_ms else first.delay_ms
    each: list[Argument] = []
    rule = None
    for job in jobs:
        if job.unique is not None:
            rule = rule or job.unique.rule
        each += (job.id, job.data, job.metadata, "" if job.unique is None else job.unique.id, job.limit_key or "")
    return (
        k.wait, k.meta, k.id, k.active, k.events, k.marker, k.prioritized, k.delayed, k.pc, k.job(first.id),
        k.base, now, first.name, pack(first.options), first.once_ms, *(rule or ("done", 0, 0)), delay_ms,
        first.priority, *each,
    )  # fmt: skip
