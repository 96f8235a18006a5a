"""How a `def` handler ends in its thread where others must see its very error or result: dependencies, middleware."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from oxherd.context import Context
from oxherd.resources.resolution import Resolution
from oxherd.resources.sync_middleware import SyncMiddleware, run_here


@dataclass(slots=True)
class Ended:
    """What a handler returned or raised. As a value: not every error may pass through a future."""

    value: Any = None
    error: BaseException | None = None

    def result(self) -> Any:
        """What it returned; raises what it raised."""
        if self.error is None:
            return self.value
        try:
            raise self.error
        finally:
            self.error = None  # it refers to this frame


def call_to_end(
    call: Callable[..., Any],
    payload: Any,
    context: Context,
    resolution: Resolution | None,
    middleware: Sequence[SyncMiddleware],
    encode: Callable[[Any], Any],
) -> Ended:
    """Run a handler in this thread, with what it needs and the sync middleware around it."""
    try:
        return Ended(encode(run_here(call, payload, context, resolution, middleware)))
    except BaseException as error:  # noqa: BLE001 - raised again in the event loop
        return Ended(error=error)
