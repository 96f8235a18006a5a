"""What standard output is: its width, whether it is a terminal, whether it may be coloured."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TextIO

from rich.cells import cell_len, set_cell_size

from oxherd.telemetry.logs.printable import printable

_NARROWEST = 20
_DEFAULT_WIDTH = 80


class Style(Enum):
    """How a text stands out, as the parameters of SGR."""

    PLAIN = ""
    BOLD = "1"
    DIM = "2"
    WRONG = "31"
    WARNING = "33"
    GOOD = "32"


@dataclass(frozen=True, slots=True)
class Screen:
    """A stream to write on; `width` is None where lines may be as long as they are, in a pipe or a file."""

    width: int | None
    coloured: bool

    def styled(self, text: str, style: Style) -> str:
        """A printable text with its style, if there are any here."""
        return f"\x1b[{style.value}m{text}\x1b[0m" if self.coloured and style is not Style.PLAIN and text else text


def screen_of(stream: TextIO | None = None) -> Screen:
    """The screen that a stream is; standard output unless told."""
    chosen = stream or sys.stdout
    if not chosen.isatty():
        return Screen(None, coloured=False)
    # https://no-color.org: any value but an empty one.
    coloured = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    columns = shutil.get_terminal_size((_DEFAULT_WIDTH, 24)).columns
    return Screen(max(columns, _NARROWEST), coloured)


def width_of(text: str) -> int:
    """How many columns a printable text takes."""
    return cell_len(text)


def padded(text: str, width: int, *, right: bool = False) -> str:
    """A text filled up to a width, on its left if it stands `right`."""
    filling = " " * max(0, width - cell_len(text))
    return filling + text if right else text + filling


def folded(text: str, width: int | None, first: str = "", indent: str = "") -> Iterator[str]:
    """A text's lines at a width, broken at blanks: the first begins with `first`, the others with `indent`.

    A word without room behind the indent stands without it, and is cut where a whole line has no room for it, so that
    what fits can be copied. No terminal escapes are left in it.
    """
    line, filled = printable(first), False
    text = printable(text)
    if width is None or cell_len(line + text) <= width:
        yield line + text
        return
    for word in text.split():
        joined = f"{line} {word}" if filled else line + word
        if cell_len(joined) <= width:
            line, filled = joined, True
            continue
        if line.strip():
            yield line
        line = indent + word if cell_len(indent + word) <= width else word
        while cell_len(line) > width:
            head = set_cell_size(line, width).rstrip(" ")
            yield head
            line = line[len(head) :]
        filled = True
    if filled:
        yield line
