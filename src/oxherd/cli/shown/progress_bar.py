"""How far long work is, on standard error: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time

from oxherd.cli.output import write_error
from oxherd.cli.shown.screen import padded, screen_of, width_of
from oxherd.wording import duration

_LINE_SECONDS = 5.0
_DRAW_SECONDS = 0.1
_CELLS = 20


class ProgressBar:
    """Shows progress; `close` leaves the terminal's line empty."""

    def __init__(self, action: str) -> None:
        self._action = action
        self._screen = screen_of(sys.stderr)
        self._began = time.monotonic()
        self._said_at = self._began
        self._first: int | None = None
        self._drawn = False

    def show(self, done: int, total: int | None) -> None:
        """Say that so many are done, of so many if that is known."""
        now = time.monotonic()
        if self._first is None:
            self._first = done
        is_terminal = self._screen.width is not None
        interval = _DRAW_SECONDS if is_terminal else _LINE_SECONDS
        if now - self._said_at < interval and (self._drawn or not is_terminal):
            return
        self._said_at = now
        if self._screen.width is None:
            write_error(f"{self._action}: {self._count(done, total)}")
            return
        self._drawn = True
        # Not in the last column, where some terminals begin a new line.
        room = self._screen.width - 1
        sys.stderr.write("\r" + padded(self._text(done, total, now, room), room))
        sys.stderr.flush()

    def close(self) -> None:
        """Take the bar away."""
        if self._drawn and self._screen.width is not None:
            sys.stderr.write("\r" + " " * (self._screen.width - 1) + "\r")
            sys.stderr.flush()

    def _text(self, done: int, total: int | None, now: float, room: int) -> str:
        """The bar and what fits beside it."""
        parts = [f"{self._action} {self._count(done, total)}"]
        if total:
            share = min(1.0, done / total)
            filled = round(share * _CELLS)
            parts = [f"{parts[0]} {share:.0%}", f"[{'#' * filled}{'.' * (_CELLS - filled)}]"]
        rate = (done - (self._first or 0)) / max(now - self._began, 0.001)
        if rate > 0:
            parts.append(f"{rate:,.0f}/s")
            if total:
                parts.append(f"{duration(max(0, total - done) / rate)} left")
        text = ""
        for part in parts:
            longer = f"{text}  {part}" if text else part
            if width_of(longer) > room:
                break
            text = longer
        return text or self._count(done, total)[:room]

    def _count(self, done: int, total: int | None) -> str:
        return f"{done:,}" if total is None else f"{done:,} of {total:,}"
