"""How an event's failures are read by its `on_failed`, and sent back by their handlers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Protocol, TypeVar

from oxherd.declaration import Declaration
from oxherd.errors import DeclarationError
from oxherd.payload.failure import FailedJob, FailureSource, FailureType
from oxherd.producer.backend import Backend
from oxherd.producer.emitter import Emitter

T = TypeVar("T")


class Connected(Protocol):
    """What is needed of a herd."""

    def __iter__(self) -> Iterator[Any]:
        """The declared events."""
        ...

    async def backend(self) -> Backend:
        """The running loop's backend."""
        ...

    def run_sync(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine from code without an event loop."""
        ...


class SentBack:
    """Sends one event's failures back, by its emitter and its herd's connections."""

    def __init__(self, emitter: Emitter, herd: Connected) -> None:
        self._emitter = emitter
        self._herd = herd

    async def send_back(self, failed: FailedJob) -> bool:
        """Put a failed event back, or emit it again; returns whether there was something to do."""
        return await self._emitter.send_back(await self._herd.backend(), failed)

    def send_back_sync(self, failed: FailedJob) -> bool:
        """`send_back` for code without an event loop."""
        return self._herd.run_sync(self.send_back(failed))


def tell_failures(declaration: Declaration, sanitizer: Callable[[], Any], emitter: Emitter, herd: Connected) -> None:
    """Have an event's `on_failed`, if it has one, read its failures.

    Raises:
        DeclarationError: that is another herd's event.
    """
    target = declaration.on_failed
    if target is None:
        return
    payload = target.declaration.payload
    if target not in list(herd) or not isinstance(payload, FailureType):
        raise DeclarationError(f"{declaration.name}: on_failed is another herd's event; declare {target.name} here.")
    payload.add_source(declaration.name, FailureSource(declaration.payload, sanitizer, SentBack(emitter, herd)))
