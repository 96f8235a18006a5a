"""An event's figures by minute and hour, in its first queue's slot: written in batches, and read back.

Minutes are kept for a day, hours for 31 days: sixty in a hash, ten in each of its fields, packed as pairs of a figure's
number (the constants below) and its value, which takes a third of the space of a field for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, cast

import msgpack

from oxherd.bullmq.pack import pack
from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.scripts import script
from oxherd.histogram import BUCKETS

Step = Literal["minute", "hour"]
# A figure's value, by its number.
Figures = dict[int, float]

BEGUN: Final = 0
# The number of each outcome, by the contract's words.
OUTCOMES: Final = {
    "completed": 1,
    "retrying": 2,
    "failed": 3,
    "timed_out": 4,
    "cancelled": 5,
    "requeued": 6,
    "discarded": 7,
    "lost": 8,
}
EXPIRED: Final = 9
# Sums in milliseconds, and the first of the buckets.
RAN_MS, WAITED_MS = 10, 11
RAN, WAITED = 16, 72
_FIGURES: Final = WAITED + BUCKETS
_IN_FIELD: Final = 10

STEP_MS: Final[dict[Step, int]] = {"minute": 60_000, "hour": 3_600_000}
# How many are kept: a day, and a month.
KEPT: Final[dict[Step, int]] = {"minute": 1_440, "hour": 744}
_LETTERS: Final[dict[Step, str]] = {"minute": "m", "hour": "h"}
# For so long a batch whose reply was lost may be sent again without being counted twice.
_MARK_MS: Final = 3_600_000


class Counted(NamedTuple):
    """Figures of an event that were counted `age_ms` milliseconds ago."""

    age_ms: int
    event: str
    figures: Figures


async def add_figures(queue: BullQueue, worker: str, batch: str, counted: Sequence[Counted]) -> None:
    """Add to an event's history, in the minutes of the server's clock; a worker's last `batch` is added once.

    Script: add_figures.

    Raises:
        RedisUnavailable, ScriptError: as `Client.script`.
    """
    k = queue.keys
    rows = [(each.age_ms, each.event, [part for pair in each.figures.items() for part in pair]) for each in counted]
    arguments = (k.history_mark(worker), k.history, batch, _MARK_MS, pack(rows))
    await queue.client.script(k.slot, script("add_figures"), arguments)


@dataclass(frozen=True, slots=True)
class StoredHistory:
    """What is stored of a time: `server_ms` is the end of it, `first` the number of its first minute or hour since the
    Unix epoch, and `figures` has those in which something happened."""

    server_ms: int
    first: int
    figures: dict[int, Figures]


async def stored_history(
    queue: BullQueue, event: str, step: Step, *, since_ms: int = 0, last_ms: int = 0
) -> StoredHistory:
    """The figures since a moment, or of the last milliseconds; else all that are kept. Script: history.

    Raises:
        RedisUnavailable, ScriptError: as `Client.script`.
    """
    k = queue.keys
    arguments = (k.history, event, _LETTERS[step], STEP_MS[step], KEPT[step], since_ms, last_ms)
    server_ms, first, found = await queue.client.script(k.slot, script("history"), arguments)
    last = int(server_ms) // STEP_MS[step]
    figures: dict[int, Figures] = {}
    for ten, packed in zip(found[::2], found[1::2], strict=True):
        for offset, each in _rows(packed):
            if int(first) <= int(ten) + offset <= last:
                figures[int(ten) + offset] = each
    return StoredHistory(int(server_ms), int(first), figures)


def _rows(packed: bytes) -> Iterator[tuple[int, Figures]]:
    """Stored rows with their offsets, which any program may have written; what is none is left out."""
    try:
        found: Any = cast("Any", msgpack).unpackb(packed)
    except ValueError:
        return
    for offset, parts in _pairs(found):
        if type(offset) is int and 0 <= offset < _IN_FIELD:
            yield offset, {number: value for number, value in _pairs(parts) if _is_figure(number, value)}


def _pairs(found: Any) -> Iterator[tuple[Any, Any]]:
    parts = cast("list[Any]", found) if isinstance(found, list) else []
    return zip(parts[::2], parts[1::2], strict=False)


def _is_figure(number: Any, value: Any) -> bool:
    return type(number) is int and 0 <= number < _FIGURES and type(value) in (int, float) and 0 <= value < 2**53
