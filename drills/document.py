"""Writes the table of `docs/drills.md` between two marks; the rest of the page is written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from oxherd.drills.drill import Drill

_BEGIN, _END = "<!-- the table: written by python -m drills -->", "<!-- the end of the table -->"
_HEAD = (
    "drill | seeds | emitted | acknowledged | processed | lost | run twice | ends missing"
    " | longest silence | longest overlap | keys left | took"
)


def write(
    folder: Path, drills: list[Drill], rows: list[dict[str, Any]], *, seeds: int, jobs: int, minutes: float
) -> None:
    """Write the table to `drills.md` and every row to `drills.json`."""
    rows = sorted(rows, key=lambda row: ([drill.name for drill in drills].index(row["drill"]), row["seed"]))
    (folder / "drills.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = folder / "drills.md"
    text = file.read_text() if file.exists() else f"{_BEGIN}\n{_END}\n"
    before, rest = text.split(_BEGIN)
    after = rest.split(_END)[1]
    table = [f"| {_HEAD} |", f"|---|{'---:|' * _HEAD.count('|')}"]
    table += [_line(drill, [row for row in rows if row["drill"] == drill.name]) for drill in drills]
    wrong = [f"- {row['drill']}, seed {row['seed']}: {'; '.join(row['wrong'])}" for row in rows if not row["ok"]]
    verdict = "Not as promised:\n\n" + "\n".join(wrong) if wrong else "All as promised."
    summary = f"{len(rows)} drills, {seeds} seeds each, {jobs} at a time, in {minutes:.0f} minutes. {verdict}"
    file.write_text(f"{before}{_BEGIN}\n\n" + "\n".join(table) + f"\n\n{summary}\n\n{_END}{after}")


def _line(drill: Drill, rows: list[dict[str, Any]]) -> str:
    done = [row for row in rows if "emitted" in row]

    def total(field: str) -> str:
        return f"{sum(row[field] for row in done):,}"

    def most(field: str) -> float:
        return max((row[field] for row in done), default=0.0)

    erased = sum(row["erased"] for row in done)
    lost = total("lost") + (f" (and {erased:,} erased by the drill)" if erased else "")
    mean = sum(row["seconds"] for row in done) / max(1, len(done))
    cells = [
        f"`{drill.name}`",
        str(len(rows)),
        *(total(field) for field in ("emitted", "acknowledged", "processed")),
        lost,
        total("twice"),
        total("ends_missing"),
        f"{most('silence'):.2f} s",
        f"{most('overlap'):.2f} s",
        total("left"),
        f"{mean:.0f} s",
    ]
    return f"| {' | '.join(cells)} |"
