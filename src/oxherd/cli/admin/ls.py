"""`oxherd ls`: the events, with what waits, runs and has failed."""

from __future__ import annotations

from oxherd.admin import EventRow
from oxherd.app import Oxherd
from oxherd.cli.admin.session import with_herd
from oxherd.cli.output import write_styled
from oxherd.cli.shown.json_lines import write_json
from oxherd.cli.shown.screen import Style, screen_of
from oxherd.cli.shown.table import Cell, Column, Row, Table
from oxherd.wording import duration

_COLUMNS = (
    Column("event"),
    Column("waiting", right=True),
    Column("running", right=True, rank=3),
    Column("delayed", right=True, rank=4),
    Column("failed", right=True),
    Column("oldest", right=True, rank=2),
    # Completed a minute, over the last five.
    Column("done/min", right=True, spare=True),
    Column("workers", right=True, rank=1),
    Column("state", below=True),
)


def run(target: str, *, json: bool) -> None:
    """Print the events, in the order of their declarations."""
    rows = with_herd(target, _rows)
    if json:
        for row in rows:
            write_json(row)
        return
    if not rows:
        write_styled("No event is declared; decorate a function with @herd.event(...).")
        return
    for line in Table(screen_of(), _COLUMNS).lines(map(_cells, rows)):
        write_styled(line)


async def _rows(herd: Oxherd) -> list[EventRow]:
    return await herd.admin.events()


def _cells(row: EventRow) -> Row:
    stuck = bool(row.waiting) and not row.workers
    return (
        row.name,
        f"{row.waiting:,}",
        f"{row.running:,}",
        f"{row.delayed:,}",
        Cell(f"{row.failed:,}", Style.WRONG if row.failed else Style.PLAIN),
        duration(row.oldest_seconds),
        _per_minute(row.recent.completed_rate),
        Cell(f"{row.workers:,}", Style.WRONG if stuck else Style.PLAIN),
        Cell("; ".join(_notes(row)), Style.WARNING),
    )


def _per_minute(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 or not rate else f"{rate:.1f}"


def _notes(row: EventRow) -> list[str]:
    notes: list[str] = []
    if row.paused_queues == len(row.queues):
        notes.append("paused")
    elif row.paused_queues:
        notes.append(f"paused on {row.paused_queues} of {len(row.queues)} shards")
    if row.waiting and not row.workers:
        notes.append("no worker")
    if row.waiting and row.limited_until is not None:
        notes.append("limited")
    if row.waiting_children:
        notes.append(f"{row.waiting_children:,} wait for children")
    if row.shared_with:
        notes.append(f"one queue with {', '.join(row.shared_with)}")
    return notes
