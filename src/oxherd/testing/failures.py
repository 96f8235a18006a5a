"""What may go wrong with an event while a handler has its payload, each time with the payload in what is raised."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from oxherd.context import Context
from oxherd.errors import Discard, OxherdError
from oxherd.policy import Retry
from oxherd.testing.renderings import words
from oxherd.testing.stage import Stage

_AGAIN: Final = Retry(attempts=2, delay=0.001)


@dataclass(frozen=True, slots=True)
class Run:
    """One thing that is done with an event. `what` names it: "after ...".

    `is_own` is the event's own handler; `stores_plain` says that it puts the payload into Redis past the event's seal.
    """

    what: str
    act: Callable[[Stage], Coroutine[Any, Any, None]]
    is_own: bool = False
    stores_plain: bool = False


class Unwritable:
    """No JSON; what it looks like is the payload."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _all_words(stage: Stage) -> list[str]:
    return words(stage.payload(), stage.planted.raw)


async def own_handler(stage: Stage) -> None:
    """The event as it is, once."""
    event = stage.event(stage.of.handler, timeout=stage.of.declaration.timeout)
    try:
        await stage.process(event, patient=True)
    finally:
        await stage.of.herd.close()  # the handler may have emitted something else


async def raised(stage: Stage, kind: type[Exception]) -> None:
    """Each way of quoting the payload."""
    texts = _all_words(stage)
    left = iter(texts)

    async def handle(_: Any, __: Context) -> None:
        raise kind(next(left))

    await stage.process(stage.event(handle), count=len(texts))


async def raised_in_a_thread(stage: Stage) -> None:
    """As `raised`, by a def."""
    texts = _all_words(stage)
    left = iter(texts)

    def handle(_: Any, __: Context) -> None:
        raise ValueError(next(left))

    await stage.process(stage.event(handle, run_in="thread"), count=len(texts))


async def raised_with_others(stage: Stage) -> None:
    """Causes, contexts, notes and groups."""
    texts = _all_words(stage)
    left = iter(texts)

    async def handle(payload: Any, _: Context) -> None:
        text = next(left)
        try:
            try:
                raise KeyError(payload, text)
            except KeyError as error:
                raise ValueError(text) from error
        except ValueError as error:
            error.add_note(text)
            raise ExceptionGroup(text, [error, ExceptionGroup(text, [RuntimeError(payload)])]) from error

    await stage.process(stage.event(handle), count=len(texts))


async def raised_again(stage: Stage) -> None:
    """A retry, then none is left."""
    text = _all_words(stage)[0]

    async def handle(payload: Any, _: Context) -> None:
        raise RuntimeError(text, payload)

    await stage.process(stage.event(handle, retry=_AGAIN))


async def timed_out(stage: Stage) -> None:
    """Told to end, it raises."""
    text = _all_words(stage)[0]

    async def handle(payload: Any, _: Context) -> None:
        try:
            await asyncio.sleep(3_600)
        except asyncio.CancelledError as error:
            raise TimeoutError(text, payload) from error

    await stage.process(stage.event(handle, timeout=0.05))


async def cancelled(stage: Stage) -> None:
    """It cancels itself."""
    text = _all_words(stage)[0]

    async def handle(payload: Any, _: Context) -> None:
        raise asyncio.CancelledError(text, payload)

    await stage.process(stage.event(handle))


async def stopped(stage: Stage) -> None:
    """The worker stops while it runs."""
    text = _all_words(stage)[0]

    async def handle(payload: Any, _: Context) -> None:
        try:
            await asyncio.sleep(3_600)
        except asyncio.CancelledError as error:
            raise RuntimeError(text, payload) from error

    await stage.process(stage.event(handle), stopped=True)


async def answered_no_json(stage: Stage) -> None:
    """A result that cannot be stored."""
    text = _all_words(stage)[0]

    async def handle(_: Any, __: Context) -> Any:
        return {"answer": Unwritable(text)}

    await stage.process(stage.event(handle))


async def reported(stage: Stage) -> None:
    """Progress, stored and refused, then an error."""
    texts = _all_words(stage)

    async def handle(_: Any, ctx: Context) -> None:
        await ctx.progress(texts[2])
        try:
            await ctx.progress(Unwritable(texts[0]))
        except OxherdError as error:
            raise ValueError(texts[3]) from error

    await stage.process(stage.event(handle))


async def logged(stage: Stage) -> None:
    """Records of the handler's own, with the payload as text and argument, and with an error."""
    texts = _all_words(stage)
    logger = logging.getLogger("oxherd.testing.handler")

    async def handle(payload: Any, ctx: Context) -> None:
        for text in texts:
            logger.warning("refused: %s", text)
        ctx.log.info("the payload is %s, or %r", payload, payload)
        try:
            raise ValueError(texts[3])
        except ValueError:
            logger.exception("it was refused")

    await stage.process(stage.event(handle))


FAILURES: Final = (
    Run("its handler raises errors that quote the payload", partial(raised, kind=ValueError)),
    Run("a def in a thread raises errors that quote the payload", raised_in_a_thread),
    Run("its handler raises groups of errors, with causes and notes, that quote the payload", raised_with_others),
    Run("its handler fails, is tried again and fails for good", raised_again),
    Run("its handler raises Discard with the payload in it", partial(raised, kind=Discard)),
    Run("its handler runs out of time and raises an error that quotes the payload", timed_out),
    Run("its handler cancels itself with the payload as the reason", cancelled),
    Run("its handler is stopped and raises an error that quotes the payload", stopped),
    Run("its handler answers something that is no JSON and looks like the payload", answered_no_json),
    Run("its handler reports the payload as progress, and fails", reported),
    Run("its handler logs the payload", logged),
)
OWN_HANDLER: Final = Run("its own handler ran", own_handler, is_own=True)
