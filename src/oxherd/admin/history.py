"""`history()`: what became of an event's runs, minute by minute or hour by hour."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import get_args

from oxherd.admin.figures import HistoryRow, added, row_of
from oxherd.admin.selection import Moment, moment_ms
from oxherd.admin.target import Herd, asked, connected
from oxherd.bullmq.history import STEP_MS, Step, StoredHistory, stored_history
from oxherd.bullmq.queue import BullQueue
from oxherd.errors import UsageError

_RECENT_MS = 300_000


async def history_rows(herd: Herd, event: str, since: Moment | None, step: Step) -> list[HistoryRow]:
    """A row for each minute or hour since a moment, also where nothing happened."""
    if step not in get_args(Step):
        raise UsageError("step is 'minute' or 'hour'.")
    declaration = herd[event].declaration
    since_ms = moment_ms(since, "since", datetime.now(UTC)) or 0
    queue = (await connected(herd)).queue(declaration)
    stored = await asked(herd, queue, lambda: stored_history(queue, declaration.name, step, since_ms=since_ms))
    step_ms = STEP_MS[step]
    numbers = range(stored.first, stored.server_ms // step_ms + 1)
    return [_row(declaration.name, stored, number * step_ms, step_ms, number) for number in numbers]


async def recent_row(herd: Herd, queue: BullQueue, event: str) -> HistoryRow:
    """The last five minutes of an event, and what of the one before them is in the same minute."""
    stored = await asked(herd, queue, lambda: stored_history(queue, event, "minute", last_ms=_RECENT_MS))
    first_ms = stored.first * STEP_MS["minute"]
    at = datetime.fromtimestamp(first_ms / 1000, UTC)
    return row_of(event, at, (stored.server_ms - first_ms) / 1000, added(stored.figures.values()))


def _row(event: str, stored: StoredHistory, at_ms: int, step_ms: int, number: int) -> HistoryRow:
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return row_of(event, at, min(step_ms, stored.server_ms - at_ms) / 1000, stored.figures.get(number, {}))
