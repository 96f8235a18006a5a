"""What holds for any input: only documented errors, without payload, in bounded time."""

from __future__ import annotations

import functools
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

from tests.fuzz.source import CANARY_NUMBER, CORE

LIMIT_SECONDS = 1.0
CANARIES = (CORE, CANARY_NUMBER)
Target = Callable[[bytes], None]


class Hang(AssertionError):
    """An input took longer than it may."""


class Leak(AssertionError):
    """A canary stands where no payload may be."""


def in_time(target: Target) -> Target:
    """The target, which must not use the processor for more than LIMIT_SECONDS; the clock of a busy machine says
    nothing."""

    @functools.wraps(target)
    def timed(data: bytes) -> None:
        began = time.process_time()
        target(data)
        took = time.process_time() - began
        if took > LIMIT_SECONDS:
            raise Hang(f"{took:.1f} s of processor time for {len(data)} bytes")

    return timed


def no_canary(text: str, where: str, hides: tuple[str, ...] = CANARIES) -> None:
    """Raises Leak if one of the canaries stands in a text."""
    if any(canary in text for canary in hides):
        raise Leak(f"{where} shows a payload: {text[:500]!r}")


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and all that it was raised from, or beside."""
    pending, seen = [error], set[int]()
    while pending:
        found = pending.pop()
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        pending += [found.__cause__, found.__context__]


def silent(error: BaseException, hides: tuple[str, ...] = CANARIES) -> None:
    """Raises Leak if an error, what it was raised from, or its printed traceback shows a canary."""
    for part in chain(error):
        no_canary(f"{part}\n{part!r}\n{part.args!r}\n{vars(part)!r}", type(part).__name__, hides)
        no_canary("\n".join(getattr(part, "__notes__", ())), "a note", hides)
    no_canary("".join(traceback.format_exception(error)), "a traceback", hides)


@contextmanager
def only(*kinds: type[BaseException], hides: tuple[str, ...] = CANARIES) -> Generator[None]:
    """Bears these errors, which must be one short line without a canary; any other is a crash."""
    try:
        yield
    except kinds as error:
        silent(error, hides)
        text = str(error)
        assert text.strip(), "an error without a word"
        assert "\n" not in text, f"more than one line: {text!r}"
        assert len(text) < 2_000, f"{len(text)} characters"
