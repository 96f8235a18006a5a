"""Shows the results of drills: a table for people, JSON lines for machines."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text

from oxherd.drills.session import Outcome

# Heading, width, and the field of `Row`.
COLUMNS: tuple[tuple[str, int, str], ...] = (
    ("emitted", 7, "emitted"),
    ("acked", 6, "acknowledged"),
    ("processed", 9, "processed"),
    ("lost", 5, "lost"),
    ("twice", 5, "twice"),
    ("no end", 6, "ends_missing"),
    ("silence", 8, "silence"),
    ("left", 5, "left"),
)
_NAME_WIDTH = 24


class ReportTable:
    """Prints a header, each row as it comes, and a summary."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._outcomes: list[Outcome] = []

    def header(self) -> None:
        """Print the column headings."""
        cells = [f"{'drill':<{_NAME_WIDTH}}", f"{'seed':>4}", *(f"{name:>{width}}" for name, width, _ in COLUMNS)]
        self._console.print(Text("  ".join([*cells, f"{'took':>6}"]), style="bold"))

    def row(self, outcome: Outcome) -> None:
        """Print one drill with one seed and, below it, what is wrong."""
        self._outcomes.append(outcome)
        values = asdict(outcome.row)
        cells = [f"{outcome.drill:<{_NAME_WIDTH}}", f"{outcome.seed:>4}"]
        cells += [f"{_cell(field, values[field]):>{width}}" for _, width, field in COLUMNS]
        line = "  ".join([*cells, f"{outcome.seconds:>4.0f} s"])
        self._console.print(Text(line, style="red" if outcome.row.wrong else ""))
        for wrong in outcome.row.wrong:
            self._console.print(Text(f"    {wrong}", style="red"))

    def summary(self) -> None:
        """Print the totals and the verdict."""
        failed = sum(bool(outcome.row.wrong) for outcome in self._outcomes)
        acknowledged = sum(outcome.row.acknowledged for outcome in self._outcomes)
        lost = sum(outcome.row.lost for outcome in self._outcomes)
        took = sum(outcome.seconds for outcome in self._outcomes)
        counts = f"{len(self._outcomes)} drills, {acknowledged:,} events acknowledged, {lost} lost"
        verdict = f"{failed} not as promised" if failed else "all as promised"
        style = "bold red" if failed else "bold green"
        self._console.print(Text(f"{counts}, in {took / 60:.1f} min: {verdict}", style=style))


def as_json(outcome: Outcome) -> str:
    """One drill with one seed, as a line of JSON."""
    head: dict[str, Any] = {"drill": outcome.drill, "seed": outcome.seed, "ok": not outcome.row.wrong}
    return json.dumps(head | asdict(outcome.row) | {"seconds": outcome.seconds})


def _cell(field: str, value: Any) -> str:
    return f"{value:.2f} s" if field == "silence" else f"{value:,}"
