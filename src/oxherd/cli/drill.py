"""`oxherd drill`: runs failure drills and prints their results."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from oxherd.cli.output import write_line
from oxherd.cli.terminal import Interrupts, make_console
from oxherd.drills.catalogue import DRILLS, SHORT, select
from oxherd.drills.drill import Drill
from oxherd.drills.report import ReportTable, as_json
from oxherd.drills.session import Outcome, run_drill
from oxherd.drills.topology import check_url
from oxherd.drills.user_drill import FaultCommands, user_drill


def list_drills() -> None:
    """Print each drill's name, the server it needs, and its description."""
    for each in DRILLS.values():
        mark = "*" if each.name in SHORT else " "
        write_line(f"{mark} {each.name:<24}{each.needs.value:<22}{each.description}")
    write_line("* runs when no name is given")


def run(
    names: list[str],
    *,
    seed: int,
    seeds: int,
    url: str | None,
    commands: FaultCommands | None,
    logs: Path | None,
    json: bool,
) -> int:
    """Run drills with `seeds` seeds each; the exit status is 0 only when all went as promised.

    Raises:
        UsageError: no drill has a name, or one cannot run on the server of `url`.
    """
    interrupts = Interrupts()
    drills = select(names) if commands is None else [user_drill(commands, names, url)]
    for each in drills:
        check_url(each, url)
    progress = Console(stderr=True, highlight=False)
    table = ReportTable(make_console())
    if not json:
        table.header()
    ok = True
    for each in drills:
        for number in range(seed, seed + seeds):
            outcome = _run_one(each, number, url, logs, progress, interrupts)
            ok = ok and not outcome.row.wrong
            if json:
                write_line(as_json(outcome))
                sys.stdout.flush()
            else:
                table.row(outcome)
    if not json:
        table.summary()
    return 0 if ok else 1


def _run_one(
    drill: Drill, seed: int, url: str | None, logs: Path | None, progress: Console, interrupts: Interrupts
) -> Outcome:
    if not progress.is_terminal:
        return interrupts.run(run_drill(drill, seed, url, logs, lambda _: None))
    with progress.status("") as status:

        def show(step: str) -> None:
            status.update(Text(f"{drill.name}, seed {seed}: {step}"))

        return interrupts.run(run_drill(drill, seed, url, logs, show))
