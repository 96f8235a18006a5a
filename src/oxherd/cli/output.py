"""The standard streams of a command: everything that a terminal gets in lines is written here."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO, cast

from oxherd.errors import UsageError
from oxherd.telemetry.logs.printable import printable


def prepare_streams() -> None:
    """Open on /dev/null what of the standard streams is closed: a socket must not get the number of one."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it has the lowest number that is free
    stdout, stderr = cast("tuple[TextIO | None, TextIO | None]", (sys.stdout, sys.stderr))
    if stdout is None:
        sys.stdout = os.fdopen(1, "w")
    if stderr is None:
        sys.stderr = os.fdopen(2, "w")
    # A terminal that lacks a character gets its escape.
    cast("TextIOWrapper", sys.stdout).reconfigure(errors="backslashreplace")


def read_input() -> list[bytes]:
    """The lines of standard input.

    Raises:
        UsageError: it is closed, or cannot be read.
    """
    stdin = cast("TextIO | None", sys.stdin)
    if stdin is None:
        raise UsageError("Standard input is closed; give the JSON lines there.")
    try:
        return stdin.buffer.readlines()
    except OSError as error:
        raise UsageError(f"Standard input cannot be read ({error.strerror}); give the JSON lines there.") from None


def write_line(text: str) -> None:
    """Print one line, without what could steer a terminal or end the line."""
    sys.stdout.write(f"{printable(text)}\n")


def write_styled(line: str) -> None:
    """Print a line that `cli.shown` has made: what is not its own style is printable already."""
    sys.stdout.write(f"{line}\n")


def write_error(text: str) -> None:
    """Print lines to standard error, each as `write_line` does."""
    try:
        sys.stderr.write("".join(f"{printable(line)}\n" for line in text.split("\n")))
        sys.stderr.flush()
    except OSError:  # there is nowhere left to say so
        discard(sys.stderr)


def output_works() -> bool:
    """Whether standard output can be written."""
    try:
        sys.stdout.flush()
        os.write(sys.stdout.fileno(), b"")
    except OSError:
        return False
    return True


def discard(stream: TextIO) -> None:
    """Send what a stream still holds nowhere, so that Python's exit does not fail on it."""
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())
