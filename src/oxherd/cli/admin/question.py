"""The question before what destroys."""

from __future__ import annotations

import signal
import sys
from typing import TextIO, cast

from oxherd.errors import OxherdError, UsageError
from oxherd.telemetry.logs.printable import printable


def confirm(question: str, *, yes: bool) -> None:
    """Return if it is wanted.

    Raises:
        UsageError: nobody can be asked, and --yes is not given.
        OxherdError: the answer was no.
    """
    if yes:
        return
    stdin = cast("TextIO | None", sys.stdin)
    if stdin is None or not stdin.isatty() or not sys.stderr.isatty():
        raise UsageError(f"{question} There is no terminal to ask on; say --yes.")
    # An event loop's own handler would wait for the answer first.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sys.stderr.write(f"{printable(question)} [y/N] ")
        sys.stderr.flush()
        answer = stdin.readline()
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        raise
    finally:
        signal.signal(signal.SIGINT, before)
    if answer.strip().lower() not in ("y", "yes"):
        raise OxherdError("Nothing was changed.")
