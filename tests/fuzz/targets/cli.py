"""The command line with any arguments and input: status 0, 1 or 2, and one line unless it is 0."""

from __future__ import annotations

import io
import logging
import re
import signal
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec

from oxherd.cli import main
from tests.fuzz.oracle import in_time, no_canary
from tests.fuzz.source import CANARY, Source, as_bytes
from tests.fuzz.targets.payloads import NAMES

_SHOP = "tests.fuzz.targets.shop:"
_HERDS = (f"{_SHOP}herd", f"{_SHOP}nothing", f"{_SHOP}herd.x", "nowhere:herd", "nowhere..x:herd", "x:", ":x", "é:é", "")
_EVENTS = ("order", "parcel", "tree", "ordre", "", "a b", "-", "--", ".a", "x" * 200)
_OPTIONS = (
    "--event", "--processes", "--reload", "--log-format", "--stop-timeout", "--help", "--", "-", "-h", "--event=order",
    "--processes=2", "--processes=x", "--stop-timeout=nan", "--log-format=json", "--no-such-option", "json", "2", "nan",
)  # fmt: skip
# They would run for long, or do what a word says: with words that end in an error only.
_OTHERS = ("demo", "dev", "drill")
_MODULE = re.compile(r"(\w[\w.-]*):")


@in_time
def emit(data: bytes) -> None:
    """`oxherd emit` with a payload, or many on standard input."""
    source = Source(data, NAMES)
    herd, event = _HERDS[0] if source.below(8) else source.choose(_HERDS), source.choose(_EVENTS[:4])
    if source.flag():
        lines = (
            as_bytes(_payload(source)) + source.choose((b"\n", b"\r\n", b"\0", b"")) for _ in range(source.below(5))
        )
        _run(["emit", herd, event, "-"], b"".join(lines))
    else:
        _run(["emit", herd, event, "--", _word(_payload(source))], b"")


@in_time
def words(data: bytes) -> None:
    """Any command with any words."""
    source = Source(data, (*_HERDS, *_EVENTS, *_OPTIONS))
    command = source.choose(("emit", "check", "worker", "emit", "wrok", "", *_OTHERS))
    if command in _OTHERS:
        _run(
            [command, "--no-such-option", *(source.choose(("--cluster", "--json", CANARY, "x")) for _ in range(3))], b""
        )
        return
    given = [_word(_any(source)) for _ in range(source.below(6))]
    if command == "worker":
        # With a herd it would run.
        given = [word.replace(_HERDS[0], _HERDS[1]) for word in given]
    _run([command, *given] if source.below(8) else given, source.raw())


def _payload(source: Source) -> str:
    return source.object() if source.below(3) else source.json()


def _any(source: Source) -> str:
    kind = source.below(6)
    if kind < 4:
        return source.choose((_HERDS, _EVENTS, _OPTIONS, _HERDS[:1])[kind][: 1 + source.below(18)])
    return source.text() if kind == 4 else _payload(source)


def _word(text: str) -> str:
    """A word as the system may pass it; one that would import a module of somebody's names one that is not there."""
    word = text.replace("\0", "").encode("utf-8", "replace" if "\ud800" in text else "surrogateescape")[:100_000]
    made = word.decode("utf-8", "surrogateescape")
    module = _MODULE.match(made)
    return f"nowhere.{made}" if module and not made.startswith(_SHOP) and _importable(module[1]) else made


def _importable(name: str) -> bool:
    try:
        return find_spec(name.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return True


def _run(arguments: list[str], stdin: bytes) -> None:
    with tempfile.TemporaryFile() as file, tempfile.TemporaryFile() as printed, _as_it_was():
        # Files: commands write to their descriptors as well.
        errors = io.TextIOWrapper(file, "utf-8", "backslashreplace", write_through=True)
        output = io.TextIOWrapper(printed, "utf-8", write_through=True)
        sys.stdin = io.TextIOWrapper(io.BytesIO(stdin))
        with redirect_stdout(output), redirect_stderr(errors):
            try:
                main(arguments)
            except SystemExit as exit_:
                status = exit_.code
        file.seek(0)
        said = file.read().decode()
        errors.detach()
        has_output = printed.tell() > 0
        output.detach()
    assert status in (0, 1, 2), status
    no_canary(said, "an error")
    if status == 0:
        assert not said, said
        return
    assert said.startswith("oxherd: ") or (status == 1 and has_output), said
    assert said.count("\n") <= 1, said
    assert "Traceback" not in said
    assert len(said) < 2_000, said


@contextmanager
def _as_it_was() -> Generator[None]:
    """Puts back what a command changes of its process."""
    root, stdin, path = logging.getLogger(), sys.stdin, list(sys.path)
    handlers, level = list(root.handlers), root.level
    listeners = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        sys.stdin, sys.path[:], root.handlers[:] = stdin, path, handlers
        root.setLevel(level)
        for number, listener in listeners.items():
            signal.signal(number, listener)
