"""`oxherd find`: events by their state, time and error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from oxherd.admin import FoundEvent, SearchState
from oxherd.app import Oxherd
from oxherd.cli.admin.selection import Narrowing
from oxherd.cli.admin.session import with_herd
from oxherd.cli.output import write_error, write_styled
from oxherd.cli.shown.json_lines import write_json
from oxherd.cli.shown.screen import Style, screen_of
from oxherd.cli.shown.table import Cell, Column, Row, Table
from oxherd.errors import UsageError
from oxherd.wording import ago

# Printed at once, so that a pipe that ends early ends the search.
_PART = 200

_COLUMNS = (
    Column("id"),
    Column("event"),
    Column("attempt", right=True, rank=2),
    Column("when", right=True, rank=1),
    Column("why", below=True),
)


def run(target: str, words: Sequence[str], state: SearchState, narrowing: Narrowing, limit: int, *, json: bool) -> None:
    """Print what is found, `limit` of it, or with 0 all."""
    if len(words) > 1:
        raise UsageError("find takes one event; give the others a find of their own.")
    event = words[0] if words else None

    async def find(herd: Oxherd) -> int:
        # One more tells whether there are others.
        most = limit + 1 if limit else None
        found = herd.admin.find(event, state=state, limit=most, **narrowing.options())
        part: list[FoundEvent] = []
        count = 0
        show = _show_json if json else _make_show(state)
        async for row in found:
            count += 1
            if limit and count > limit:
                break
            part.append(row)
            if len(part) == _PART:
                show(part)
                part = []
        show(part)
        return count

    count = with_herd(target, find)
    sys.stdout.flush()
    if not count:
        write_error(f"nothing found: {_what(state, event)}")
    elif limit and count > limit:
        write_error(f"there are more than {limit:,}: --limit takes another number, or 0 for all")


def _what(state: str, event: str | None) -> str:
    return f"no such event is {state.replace('_', ' ')}" + ("" if event is None else f" of {event}")


def _show_json(rows: Sequence[FoundEvent]) -> None:
    for row in rows:
        write_json(row)
    sys.stdout.flush()


def _make_show(state: SearchState) -> Callable[[Sequence[FoundEvent]], Any]:
    table = Table(screen_of(), _COLUMNS)

    def show(rows: Sequence[FoundEvent]) -> None:
        if rows:
            for line in table.lines(_cells(row, state) for row in rows):
                write_styled(line)
            sys.stdout.flush()

    return show


def _cells(row: FoundEvent, state: SearchState) -> Row:
    why = "" if row.error is None else f"{row.error.type}: {row.error.message}".strip(": ")
    if row.outcome and row.outcome not in ("failed", "completed", "retrying"):
        why = f"{row.outcome}: {why}" if why else row.outcome
    if row.held:
        why = f"waits for others of its key; {why}" if why else "waits for others of its key"
    moment = {
        "failed": row.ended_at,
        "completed": row.ended_at,
        "running": row.began_at,
        "delayed": row.due_at,
    }.get(state) or row.emitted_at
    return (
        str(row.id),
        row.event or f"(unknown, in {row.queue})",
        str(row.attempt),
        ago(moment),
        Cell(why, Style.DIM),
    )
