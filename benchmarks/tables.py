"""Markdown tables of medians: one row a system, one column a case."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from benchmarks.results import Results
from benchmarks.server import BUNDLED

Cell: TypeAlias = "dict[str, Any]"
Show: TypeAlias = "Callable[[list[Cell]], str]"

LEFT_OUT = "–"  # noqa: RUF001 - a cell without a figure, as tables have it


class Table:
    """The samples of one measurement on one server; rows in the order of one case's rate, or p50 of it, if named."""

    def __init__(
        self,
        results: Results,
        measurement: str,
        columns: dict[str, tuple[str, Show]],
        best_first: str = "",
        server: str = BUNDLED,
    ) -> None:
        self._results = results
        self._measurement = measurement
        self._server = server
        self._columns = columns
        self._best_first = best_first

    def rows(self) -> list[str]:
        """The systems that have a figure, or a failure, in this table."""
        found = [key for key in self._results.systems if any(self._cells(key, case) for case, _ in self._cases())]
        return sorted(found, key=self._rank) if self._best_first else found

    def lines(self) -> Iterator[str]:
        """The table, with only those columns that have a figure."""
        rows = self.rows()
        shown = {title: [self._shown(key, case, show) for key in rows] for title, (case, show) in self._columns.items()}
        shown = {title: cells for title, cells in shown.items() if any(cells)}
        yield "| | " + " | ".join(shown) + " |"
        yield "|---|" + "---:|" * len(shown)
        for index, key in enumerate(rows):
            cells = " | ".join(cells[index] for cells in shown.values())
            yield f"| {self._results.title(key)} | {cells} |"

    def _cases(self) -> list[tuple[str, Show]]:
        return list(self._columns.values())

    def _cells(self, key: str, case: str) -> list[Cell]:
        return self._results.of(self._measurement, key, case, self._server)

    def _shown(self, key: str, case: str, show: Show) -> str:
        if self._results.left_out(self._measurement, key, case, self._server):
            return LEFT_OUT
        cells = self._cells(key, case)
        if cells:
            return show(cells)
        return "failed" if self._results.failed(self._measurement, key, case, self._server) else ""

    def _rank(self, key: str) -> float:
        cells = self._cells(key, self._best_first) or [
            cell for case, _ in self._cases() for cell in self._cells(key, case)
        ]
        if "p50" in cells[0]:
            return statistics.median(float(cell["p50"]) for cell in cells)
        return -statistics.median(float(cell["rate"]) for cell in cells)


def number(value: float, digits: int = 0) -> str:
    """A figure for a reader."""
    return f"{value:,.{digits}f}"


def spread(name: str) -> Show:
    """The median with the lowest and highest."""

    def show(cells: list[Cell]) -> str:
        values = [float(cell[name]) for cell in cells]
        if len(values) == 1:
            return number(values[0])
        return f"{number(statistics.median(values))} ({number(min(values))} to {number(max(values))})"

    return show


def over(name: str, digits: int) -> Show:
    """The median alone."""

    def show(cells: list[Cell]) -> str:
        values = [float(cell[name]) for cell in cells if cell.get(name) is not None]
        return number(statistics.median(values), digits) if values else ""

    return show


def share(name: str) -> Show:
    """The median as a percentage."""

    def show(cells: list[Cell]) -> str:
        return f"{100 * statistics.median(float(cell[name]) for cell in cells):.0f} %"

    return show
