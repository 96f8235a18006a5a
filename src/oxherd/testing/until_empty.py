"""Runs a herd's queues until nothing is left, and makes delayed events due."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from oxherd.app import Oxherd
from oxherd.bullmq.pausing import is_paused
from oxherd.bullmq.promotion import promote_delayed, unfinished
from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.shards import shard_queues
from oxherd.errors import OxherdError, UsageError
from oxherd.policy import Seconds, seconds
from oxherd.signals import EventEnded

_POLL_SECONDS = 0.01
_WAITING = {"wait", "prioritized", "paused"}
_STATES = {"wait": "waiting", "active": "running", "outbox": "to be relayed"}


class NotEmpty(OxherdError, TimeoutError):
    """`run_until_empty` timed out."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that ended meanwhile: its outcome as in `event.end`, its error redacted as there ("" without one)."""

    event: str
    id: UUID
    attempt: int
    outcome: str
    error: str


async def run_until_empty(herd: Oxherd, timeout: Seconds = 10) -> list[Ended]:
    """Process a herd's events until its queues are empty, events that handlers emit meanwhile included.

    Delays and the waits before retries are skipped; a schedule's next tick is not waited for. The herd is started if it
    is not, and then stopped at the end. Returns the runs that ended meanwhile in this process, in order.

    Raises:
        NotEmpty: something is left after `timeout` seconds (a number or a timedelta), or waits on paused queues alone;
            it says what.
        DeclarationError: no event has a handler.
    """
    limit = seconds(timeout, "timeout")
    ended: list[Ended] = []

    def keep(signal: EventEnded) -> None:
        error = "" if signal.error is None else f"{signal.error.type}: {signal.error.message}"
        ended.append(Ended(signal.event, UUID(signal.event_id), signal.attempt, signal.outcome, error))

    herd.signals.subscribe(keep, EventEnded)
    starts = not herd.processing
    paused: list[str] = []
    try:
        if starts:
            await herd.backend()  # also where emits are captured, in which case a start alone connects to nothing
            await herd.start()
        async with asyncio.timeout(limit):
            # Polled: other workers' outcomes come without an event.
            while not paused and (left := await _look(herd, ended)) is not None:
                await asyncio.sleep(_POLL_SECONDS)
                paused = await _paused(herd, left)
    except TimeoutError:
        if left := await _left(herd):
            raise NotEmpty(_not_empty(left, ended, limit)) from None
    finally:
        if starts:
            await herd.stop(0)
        herd.signals.unsubscribe(keep)
    if paused:
        raise NotEmpty(f"Not empty: events wait on {', '.join(paused)}, paused; resume their events first.")
    return ended


async def travel(herd: Oxherd, *, to: datetime) -> int:
    """Make due what is due by `to`, ticks of schedules included, and return how many events that were.

    Only the queues are told: the clock stays, and each schedule has one tick, however many lie between.

    Raises:
        UsageError: `to` is not an aware datetime.
    """
    if not isinstance(to, datetime) or to.tzinfo is None:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError("to must be an aware datetime, such as datetime.now(UTC) + timedelta(days=1).")
    until_ms = to.timestamp() * 1000
    return sum([await promote_delayed(queue, until_ms=until_ms, ticks=True) for queue in await _queues(herd)])


async def _look(herd: Oxherd, ended: list[Ended]) -> dict[str, dict[str, int]] | None:
    """What is left to do, by queue; None once nothing is, nor on its way to a queue that was looked at before.

    What goes from a queue's outbox to such a queue is in neither: the second look finds it there, unless it has ended.
    """
    before = len(ended)
    left = await _left(herd) or await _left(herd)
    return left if left or len(ended) > before else None


async def _left(herd: Oxherd) -> dict[str, dict[str, int]]:
    """What is left to do, by queue, once all delays are skipped."""
    left: dict[str, dict[str, int]] = {}
    for queue in await _queues(herd):
        counts = await unfinished(queue)
        if counts:
            left[queue.keys.queue] = counts
            await promote_delayed(queue, until_ms=math.inf, ticks=False)
    return left


async def _paused(herd: Oxherd, left: dict[str, dict[str, int]]) -> list[str]:
    """The queues that something is left on, if it only waits there, and all of them are paused."""
    backend = await herd.backend()
    for queue, counts in left.items():
        if not counts.keys() <= _WAITING or not await is_paused(backend.queue_named(queue)):
            return []
    return list(left)


async def _queues(herd: Oxherd) -> list[BullQueue]:
    """Each queue of an event that has a handler here."""
    backend = await herd.backend()
    queues: dict[str, BullQueue] = {}
    for event in herd:
        if event.handler is not None:
            first = backend.queue(event.declaration)
            shards = event.declaration.shards
            names = shard_queues(event.name, shards) if shards > 1 else (first.keys.queue,)
            queues.update((name, backend.queue_named(name)) for name in names)
    return list(queues.values())


def _not_empty(left: dict[str, dict[str, int]], ended: list[Ended], limit: float) -> str:
    queues = ", ".join(
        f"{queue} has {' and '.join(f'{number} {_STATES.get(state, state)}' for state, number in counts.items())}"
        for queue, counts in left.items()
    )
    errors = [f"{run.event} {run.outcome} ({run.error})" for run in ended if run.error]
    last = f"; last error: {errors[-1].rstrip('.')}" if errors else ""
    return f"Not empty after {limit:g} s: {queues}{last}; give it more time or see why."
