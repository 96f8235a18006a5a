"""Scenarios in which a handler fails, or logs, with the payload in its errors, results or records."""

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
from oxherd.testing.probe import LeakProbe
from oxherd.testing.renderings import renderings

_ONE_RETRY: Final = Retry(attempts=2, delay=0.001)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One thing that happens to an event; `name` completes "after ...".

    `stores_plain`: it stores the payload without the event's seal.
    """

    name: str
    run: Callable[[LeakProbe], Coroutine[Any, Any, None]]
    runs_own_handler: bool = False
    stores_plain: bool = False


class Unwritable:
    """A value that is not JSON and whose `repr` is the payload."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _renderings(probe: LeakProbe) -> list[str]:
    return renderings(probe.payload(), probe.planted.raw)


async def own_handler(probe: LeakProbe) -> None:
    """The event's own handler runs once."""
    event = probe.event(probe.original.handler, timeout=probe.original.declaration.timeout)
    try:
        await probe.process(event, deadline=None)
    finally:
        await probe.original.herd.close()  # the handler may have emitted something else


async def raised(probe: LeakProbe, kind: type[Exception]) -> None:
    """A coroutine raises an error with each rendering of the payload."""
    texts = _renderings(probe)
    left = iter(texts)

    async def handle(_: Any, __: Context) -> None:
        raise kind(next(left))

    await probe.process(probe.event(handle), count=len(texts))


async def raised_in_a_thread(probe: LeakProbe) -> None:
    """A `def` handler raises an error with each rendering of the payload."""
    texts = _renderings(probe)
    left = iter(texts)

    def handle(_: Any, __: Context) -> None:
        raise ValueError(next(left))

    await probe.process(probe.event(handle, run_in="thread"), count=len(texts))


async def raised_with_others(probe: LeakProbe) -> None:
    """Errors with causes, contexts and notes, in groups."""
    texts = _renderings(probe)
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

    await probe.process(probe.event(handle), count=len(texts))


async def raised_again(probe: LeakProbe) -> None:
    """Each attempt fails, until none is left."""
    text = _renderings(probe)[0]

    async def handle(payload: Any, _: Context) -> None:
        raise RuntimeError(text, payload)

    await probe.process(probe.event(handle, retry=_ONE_RETRY))


async def timed_out(probe: LeakProbe) -> None:
    """Cancelled at its timeout, the handler raises."""
    text = _renderings(probe)[0]

    async def handle(payload: Any, _: Context) -> None:
        try:
            await asyncio.sleep(3_600)
        except asyncio.CancelledError as error:
            raise TimeoutError(text, payload) from error

    await probe.process(probe.event(handle, timeout=0.05))


async def cancelled(probe: LeakProbe) -> None:
    """The handler cancels itself."""
    text = _renderings(probe)[0]

    async def handle(payload: Any, _: Context) -> None:
        raise asyncio.CancelledError(text, payload)

    await probe.process(probe.event(handle))


async def stopped(probe: LeakProbe) -> None:
    """The worker stops while the handler runs."""
    text = _renderings(probe)[0]

    async def handle(payload: Any, _: Context) -> None:
        try:
            await asyncio.sleep(3_600)
        except asyncio.CancelledError as error:
            raise RuntimeError(text, payload) from error

    await probe.process(probe.event(handle), stopped=True)


async def returned_no_json(probe: LeakProbe) -> None:
    """The handler returns a result that is not JSON."""
    text = _renderings(probe)[0]

    async def handle(_: Any, __: Context) -> Any:
        return {"answer": Unwritable(text)}

    await probe.process(probe.event(handle))


async def reported(probe: LeakProbe) -> None:
    """The handler reports progress, valid and invalid, then raises."""
    texts = _renderings(probe)

    async def handle(_: Any, ctx: Context) -> None:
        await ctx.progress(texts[2])
        try:
            await ctx.progress(Unwritable(texts[0]))
        except OxherdError as error:
            raise ValueError(texts[3]) from error

    await probe.process(probe.event(handle))


async def logged(probe: LeakProbe) -> None:
    """The handler logs the payload, as text, as an argument, and in an error."""
    texts = _renderings(probe)
    logger = logging.getLogger("oxherd.testing.handler")

    async def handle(payload: Any, ctx: Context) -> None:
        for text in texts:
            logger.warning("refused: %s", text)
        ctx.log.info("the payload is %s, or %r", payload, payload)
        try:
            raise ValueError(texts[3])
        except ValueError:
            logger.exception("it was refused")

    await probe.process(probe.event(handle))


FAILURES: Final = (
    Scenario("its handler raises errors that quote the payload", partial(raised, kind=ValueError)),
    Scenario("a def in a thread raises errors that quote the payload", raised_in_a_thread),
    Scenario("its handler raises groups of errors, with causes and notes, that quote the payload", raised_with_others),
    Scenario("its handler fails, is retried and fails for good", raised_again),
    Scenario("its handler raises Discard with the payload in it", partial(raised, kind=Discard)),
    Scenario("its handler runs out of time and raises an error that quotes the payload", timed_out),
    Scenario("its handler cancels itself with the payload as the reason", cancelled),
    Scenario("its handler is stopped and raises an error that quotes the payload", stopped),
    Scenario("its handler returns something that is not JSON and looks like the payload", returned_no_json),
    Scenario("its handler reports the payload as progress, and fails", reported),
    Scenario("its handler logs the payload", logged),
)
OWN_HANDLER: Final = Scenario("its own handler ran", own_handler, runs_own_handler=True)
