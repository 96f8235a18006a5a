"""`oxherd workers`: who is alive, with what."""

from __future__ import annotations

from datetime import UTC, datetime

from oxherd.app import Oxherd
from oxherd.bullmq.worker_info import WorkerInfo
from oxherd.cli.admin.session import with_herd
from oxherd.cli.output import write_error, write_styled
from oxherd.cli.shown.json_lines import write_json
from oxherd.cli.shown.screen import screen_of
from oxherd.cli.shown.table import Column, Row, Table
from oxherd.wording import ago, duration

_COLUMNS = (
    Column("host"),
    Column("pid", right=True),
    Column("running", right=True),
    Column("longest", right=True, rank=2),
    Column("up", right=True, rank=1),
    Column("heard", right=True, rank=3),
    Column("version", rank=4),
    Column("events", below=True),
)


def run(target: str, *, json: bool) -> None:
    """Print the live workers, the longest alive first."""
    found = with_herd(target, _read)
    if json:
        for info in found:
            write_json(info)
        return
    if not found:
        write_error("no worker is alive; start one: oxherd worker MODULE:HERD")
        return
    now = datetime.now(UTC)
    for line in Table(screen_of(), _COLUMNS).lines(_cells(info, now) for info in found):
        write_styled(line)


async def _read(herd: Oxherd) -> list[WorkerInfo]:
    return await herd.admin.workers()


def _cells(info: WorkerInfo, now: datetime) -> Row:
    longest = info.running[0] if info.running else None
    return (
        info.host,
        str(info.pid),
        f"{info.running_count:,}",
        "" if longest is None else duration((now - longest.since).total_seconds()),
        duration((now - info.since).total_seconds()),
        ago(info.last_seen, now),
        info.version or "",
        ", ".join(info.events),
    )
