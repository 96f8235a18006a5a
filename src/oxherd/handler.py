"""A handler: the function that processes an event, what its signature says, and who declares it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from oxherd.context import Context
from oxherd.declaration import Declaration, RunIn
from oxherd.errors import DeclarationError
from oxherd.signals import Signals


@dataclass(frozen=True, slots=True)
class Handler:
    """A function that processes an event, and how it is called."""

    function: Callable[..., Any]
    run_in: RunIn
    wants_context: bool
    payload: Any


@dataclass(frozen=True, slots=True)
class DeclaredHandler:
    """A handler with its event, and its herd's signals; `close` ends the connections that it opened by its herd."""

    declaration: Declaration
    handler: Handler
    signals: Signals
    close: Callable[[], None]


class DeclaresHandlers:
    """Base of Oxherd and Event: a handler's process finds it among a module's globals."""

    def declared_handlers(self) -> Iterator[DeclaredHandler]:
        """The handlers that it declares."""
        raise NotImplementedError


def inspect_handler(
    name: str, function: Callable[..., Any], run_in: RunIn | None, scope: dict[str, Any] | None = None
) -> Handler:
    """Read from a function's signature how to call it; `scope` has further names that its annotations may use.

    Raises:
        DeclarationError: it is not a function of a payload and, optionally, a Context; or `run_in` does not fit it.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
        hints = get_type_hints(function, localns=scope, include_extras=True)
    except NameError as error:
        raise DeclarationError(
            f"{name}: an annotation of the handler names {error.name!r}, which is not defined there; import it."
        ) from None
    except (TypeError, ValueError) as error:
        raise DeclarationError(f"{name}: the handler's signature cannot be read ({type(error).__name__}).") from None
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if not positional or len(required) > 2 or any(p not in positional[:2] for p in required):
        raise DeclarationError(f"{name}: a handler takes the payload and, if it likes, a Context.")
    payload, *others = positional
    if payload.name not in hints:
        raise DeclarationError(f"{name}: annotate the handler's first parameter with the payload's type.")
    is_async = inspect.iscoroutinefunction(function)
    if is_async and run_in not in (None, "loop"):
        raise DeclarationError(
            f"{name}: an async handler runs in the event loop; make it a def to use run_in={run_in!r}."
        )
    if not is_async and run_in not in (None, "thread", "process"):
        raise DeclarationError(f"{name}: run_in must be 'thread' or 'process' for a def handler.")
    if run_in == "process":
        _check_importable(name, function)
    return Handler(
        function=function,
        run_in="loop" if is_async else (run_in or "thread"),
        wants_context=bool(others) and (others[0] in required or hints.get(others[0].name) is Context),
        payload=hints[payload.name],
    )


def caller_scope() -> dict[str, Any]:
    """The local names where our caller was called: a payload's type may be defined there."""
    frame = inspect.currentframe()
    caller = frame.f_back.f_back if frame is not None and frame.f_back is not None else None
    return dict(caller.f_locals) if caller is not None else {}


def _check_importable(name: str, function: Callable[..., Any]) -> None:
    """Refuse a function that another process cannot find by importing its module."""
    at_top = inspect.isfunction(function) and function.__qualname__ == function.__name__ != "<lambda>"
    if not at_top:
        raise DeclarationError(
            f"{name}: a handler that runs in a process must be importable; make it a def at the top level of a module."
        )
    main = sys.modules["__main__"]
    in_file = main.__spec__ is not None or Path(getattr(main, "__file__", "")).is_file()
    if function.__module__ == "__main__" and not in_file:
        raise DeclarationError(
            f"{name}: a handler that runs in a process must be importable; put it in a file, and run or import that."
        )
