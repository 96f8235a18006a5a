"""`oxherd schedules`: what ticks when."""

from __future__ import annotations

from datetime import UTC, datetime

from oxherd.admin import ScheduleRow
from oxherd.app import Oxherd
from oxherd.cli.admin.session import with_herd
from oxherd.cli.output import write_error, write_styled
from oxherd.cli.shown.json_lines import write_json
from oxherd.cli.shown.screen import Style, screen_of
from oxherd.cli.shown.table import Cell, Column, Row, Table
from oxherd.schedule.cron import Cron
from oxherd.schedule.every import Every
from oxherd.wording import ago, clock

_COLUMNS = (
    Column("event"),
    Column("schedule"),
    Column("next", right=True),
    Column("last", right=True, rank=1),
    Column("where", rank=2),
    Column("when", below=True),
)


def run(target: str, event: str | None, *, json: bool) -> None:
    """Print the schedules of all events, or of one, the next to tick first."""

    async def read(herd: Oxherd) -> list[ScheduleRow]:
        return await herd.admin.schedules(event)

    rows = with_herd(target, read)
    if json:
        for row in rows:
            write_json(_fields(row))
        return
    if not rows:
        write_error("no schedules are stored")
        return
    now = datetime.now(UTC)
    for line in Table(screen_of(), _COLUMNS).lines(_cells(row, now) for row in rows):
        write_styled(line)


def _cells(row: ScheduleRow, now: datetime) -> Row:
    info = row.info
    # Its day and hour as well, where a terminal has the room below.
    when = f"{_when(info.when)}; next {clock(info.next)}" if info.next else _when(info.when)
    return (
        row.event,
        info.name,
        Cell("paused", Style.WARNING) if info.paused else ago(info.next, now),
        ago(info.last, now),
        "code" if info.declared else "run time",
        when,
    )


def _when(when: Cron | Every | str) -> str:
    match when:
        case Cron():
            return f"{when.expression} ({when.tz})"
        case Every():
            return f"every {when.milliseconds / 1000:g} s"
        case _:
            return when


def _fields(row: ScheduleRow) -> dict[str, object]:
    info = row.info
    return {
        "event": row.event,
        "name": info.name,
        "when": _when(info.when),
        "declared": info.declared,
        "paused": info.paused,
        "next": info.next,
        "last": info.last,
        "payload": info.payload,
    }
