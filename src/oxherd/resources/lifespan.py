"""A worker's lifespans: opened once in each process and event loop that runs handlers, and closed after the last."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import Context
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from oxherd.context import absorb_cancellation
from oxherd.errors import DeclarationError, LifespanError
from oxherd.privacy.stack import exception_stack

if TYPE_CHECKING:
    from oxherd.app import Oxherd

T = TypeVar("T")

# Of the 30 s that Kubernetes gives a process, a stop takes 25.
CLOSE_SECONDS = 5.0

logger = logging.getLogger("oxherd")


class Lifespan(Generic[T]):
    """What `Oxherd.worker_lifespan` makes of a function: to be called like it, or depended upon for what it yields."""

    def __init__(self, function: Callable[[Oxherd], AsyncIterator[T]]) -> None:
        if not inspect.isasyncgenfunction(function):
            raise DeclarationError(
                "worker_lifespan takes an async generator function of the herd; make it an async def that yields once."
            )
        self._function = function
        self.__name__: str = getattr(function, "__name__", "lifespan")
        self.__doc__ = function.__doc__

    def __call__(self, herd: Oxherd) -> AsyncIterator[T]:
        """The function's own async generator."""
        return self._function(herd)

    def __repr__(self) -> str:
        return f"Lifespan({self.__name__})"


class OpenLifespans:
    """A herd's lifespans in one event loop; `values` is filled with what they yield.

    A task of its own opens and closes them, since what they open may belong to the task.
    """

    def __init__(self, herd: Oxherd, lifespans: Iterable[Lifespan[Any]], values: dict[Callable[..., Any], Any]) -> None:
        self._herd = herd
        self._lifespans = lifespans
        self._values = values
        self._opening = asyncio.Lock()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open them in order, unless they are open.

        Raises:
            LifespanError: one has failed; those before it are closed.
        """
        async with self._opening:
            if self._task is not None or not any(True for _ in self._lifespans):
                return
            loop = asyncio.get_running_loop()
            self._closing = asyncio.Event()
            opened = asyncio.Event()
            # Not in the context of the request or test that happens to start the herd.
            task = loop.create_task(self._hold(opened), name="oxherd-lifespans", context=Context())
            opening = loop.create_task(opened.wait())
            try:
                await asyncio.wait([task, opening], return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                self._closing.set()
                task.cancel()
                await asyncio.wait([task])
                raise
            finally:
                opening.cancel()
            if task.done():
                task.result()
            self._task = task

    async def close(self) -> None:
        """Close them, the last one first; one that fails is logged, and so is one that takes too long."""
        async with self._opening:
            task, self._task = self._task, None
            if task is None:
                return
            self._closing.set()
            _, late = await asyncio.wait([task], timeout=CLOSE_SECONDS)
            if late:
                logger.error("the worker's lifespans did not close within %g s; they are cancelled", CLOSE_SECONDS)
                task.cancel()
                await asyncio.wait([task], timeout=CLOSE_SECONDS)

    async def _hold(self, opened: asyncio.Event) -> None:
        entered: list[tuple[Lifespan[Any], AbstractAsyncContextManager[Any]]] = []
        try:
            for lifespan in self._lifespans:
                manager = asynccontextmanager(cast("Callable[..., AsyncGenerator[Any]]", lifespan))(self._herd)
                self._values[lifespan] = await _enter(lifespan, manager)
                entered.append((lifespan, manager))
            opened.set()
            while not self._closing.is_set():
                try:
                    await self._closing.wait()
                except asyncio.CancelledError:
                    # The loop ends: what runs is put back first, and then this is closed.
                    absorb_cancellation()
        finally:
            self._values.clear()
            for lifespan, manager in reversed(entered):
                await _leave(lifespan, manager)


async def _enter(lifespan: Lifespan[Any], manager: AbstractAsyncContextManager[Any]) -> Any:
    try:
        return await manager.__aenter__()
    except Exception as error:
        raise LifespanError(
            f"The worker lifespan {lifespan.__name__} failed to open ({_what(lifespan, error)}); "
            "mend it, or what it needs, and start again."
        ) from error


async def _leave(lifespan: Lifespan[Any], manager: AbstractAsyncContextManager[Any]) -> None:
    try:
        await manager.__aexit__(None, None, None)
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the others are closed all the same
        logger.error("the worker lifespan %s failed to close (%s)", lifespan.__name__, _what(lifespan, error))
        absorb_cancellation()


def _what(lifespan: Lifespan[Any], error: BaseException) -> str:
    """An error's type, and its place in the lifespan itself, if it is there; its message may hold a password."""
    stack = exception_stack(error)
    where = next((frame for frame in reversed(stack) if frame.endswith(f" {lifespan.__name__}")), stack[-1])
    return f"{type(error).__name__} at {where}"
