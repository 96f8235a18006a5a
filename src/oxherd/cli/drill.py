"""`oxherd drill`: breaks something under load, and accounts for every event."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from oxherd.cli.terminal import exit_on_sigterm, make_console, run_interruptible
from oxherd.drills.catalogue import DRILLS, SHORT, chosen
from oxherd.drills.drill import Drill, Needs
from oxherd.drills.report import Table, as_json
from oxherd.drills.scene import Outcome, run_drill
from oxherd.drills.topology import check_url
from oxherd.drills.user_drill import Own, own_drill

_NEEDS = {Needs.WORKERS: "any server", Needs.SERVER: "a server of its own", Needs.CLUSTER: "a cluster of its own"}


def show_list() -> None:
    """Print every drill: its name, what it runs on, what it does."""
    for each in DRILLS.values():
        mark = "*" if each.name in SHORT else " "
        sys.stdout.write(f"{mark} {each.name:<24}{_NEEDS[each.needs]:<22}{each.does}\n")
    sys.stdout.write("* is run where no name is given\n")


def run(
    names: list[str], *, seed: int, seeds: int, url: str | None, own: Own | None, logs: Path | None, json: bool
) -> int:
    """Run drills, each with its seeds; the exit status is 0 only when all went as promised.

    Raises:
        UsageError: there is no drill of a name, or it cannot run on the server of the URL.
    """
    exit_on_sigterm()
    drills = chosen(names) if own is None else [own_drill(own, names, url)]
    for each in drills:
        check_url(each, url)
    progress = Console(stderr=True, highlight=False)
    table = Table(make_console())
    if not json:
        table.head()
    ok = True
    for each in drills:
        for number in range(seed, seed + seeds):
            outcome = _one(each, number, url, logs, progress)
            ok = ok and not outcome.row.wrong
            if json:
                sys.stdout.write(as_json(outcome) + "\n")
                sys.stdout.flush()
            else:
                table.row(outcome)
    if not json:
        table.end()
    return 0 if ok else 1


def _one(drill: Drill, seed: int, url: str | None, logs: Path | None, progress: Console) -> Outcome:
    if not progress.is_terminal:
        return run_interruptible(run_drill(drill, seed, url, logs, lambda _: None))
    with progress.status("") as status:

        def say(what: str) -> None:
            status.update(Text(f"{drill.name}, seed {seed}: {what}"))

        return run_interruptible(run_drill(drill, seed, url, logs, say))
