"""Aligned tables, which fit the terminal: columns are left out, then lines are folded, and none is torn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from oxherd.cli.shown.screen import Screen, Style, folded, padded, width_of
from oxherd.telemetry.logs.printable import printable

_GAP = "  "


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its heading, and what becomes of it where there is no room.

    Attributes:
        right: whether its texts stand at its right.
        rank: the columns of the highest rank are left out first; those of rank 0 never.
        spare: whether it is shown only where every column has room.
        below: whether its text goes to a line below its row, where it does not fit beside the others.
    """

    heading: str
    right: bool = False
    rank: int = 0
    spare: bool = False
    below: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """A text with a style."""

    text: str
    style: Style = Style.PLAIN


Row = Sequence[Cell | str]


class Table:
    """Makes the lines of a table, which may come in parts: columns keep their widths from one part to the next."""

    def __init__(self, screen: Screen, columns: Sequence[Column]) -> None:
        self._screen = screen
        self._columns = columns
        self._widths = [width_of(column.heading) for column in columns]
        self._headed = False

    def lines(self, rows: Iterable[Row]) -> Iterator[str]:
        """The lines of further rows; before the first ones, the headings."""
        cells = [[_cell(each) for each in row] for row in rows]
        self._widths = [
            max(width, *(width_of(row[number].text) for row in cells)) if cells else width
            for number, width in enumerate(self._widths)
        ]
        shown, below = self._layout()
        if not shown:
            for row in cells:
                yield from self._block(row)
            return
        if not self._headed:
            self._headed = True
            headings = [Cell(column.heading.upper(), Style.BOLD) for column in self._columns]
            yield self._line(headings, shown)
        for row in cells:
            yield self._line(row, shown)
            for number in below:
                yield from self._folded_below(row[number])

    def _layout(self) -> tuple[list[int], list[int]]:
        """The columns that stand beside each other, and those that go below; without the former, rows are blocks."""
        every = list(range(len(self._columns)))
        if self._fits(every):
            return every, []
        every = [number for number in every if not self._columns[number].spare]
        beside = [number for number in every if not self._columns[number].below]
        below = [number for number in every if self._columns[number].below]
        if self._fits(every):
            return every, []
        ranks = sorted({self._columns[number].rank for number in beside}, reverse=True)
        for rank in [max(ranks, default=0) + 1, *ranks]:
            shown = [number for number in beside if self._columns[number].rank < rank or not self._columns[number].rank]
            if self._fits(shown):
                return shown, below
        return [], []

    def _fits(self, numbers: list[int]) -> bool:
        width = self._screen.width
        return width is None or sum(self._widths[n] + len(_GAP) for n in numbers) - len(_GAP) <= width

    def _line(self, row: Sequence[Cell], shown: list[int]) -> str:
        texts: list[str] = []
        for number in shown:
            cell, right = row[number], self._columns[number].right
            last = number == shown[-1]
            text = cell.text if last and not right else padded(cell.text, self._widths[number], right=right)
            texts.append(self._screen.styled(text, cell.style))
        return _GAP.join(texts).rstrip()

    def _folded_below(self, cell: Cell) -> Iterator[str]:
        if cell.text:
            for line in folded(cell.text, self._screen.width, _GAP, _GAP):
                yield self._screen.styled(line, cell.style)

    def _block(self, row: list[Cell]) -> Iterator[str]:
        """A row where there is no room for a table: a line for each of its cells that says something."""
        first, *others = zip(self._columns, row, strict=True)
        for line in folded(first[1].text, self._screen.width):
            yield self._screen.styled(line, Style.BOLD)
        for column, cell in others:
            if cell.text and not (column.right and cell.text == "0"):
                for line in folded(cell.text, self._screen.width, f"{_GAP}{column.heading} ", _GAP * 2):
                    yield self._screen.styled(line, cell.style)


def _cell(given: Cell | str) -> Cell:
    return Cell(printable(given)) if isinstance(given, str) else Cell(printable(given.text), given.style)
