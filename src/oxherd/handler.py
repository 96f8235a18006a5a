"""A handler: a function that processes an event, and what its signature says."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_type_hints

from oxherd.context import Context
from oxherd.errors import DeclarationError

RunIn = Literal["loop", "thread", "process"]


@dataclass(frozen=True, slots=True)
class Handler:
    """A function that processes an event, and how it is called."""

    function: Callable[..., Any]
    run_in: RunIn
    wants_context: bool
    payload: Any


def inspect_handler(
    name: str, function: Callable[..., Any], run_in: RunIn | None, scope: dict[str, Any] | None = None
) -> Handler:
    """How `function` is called, read from its signature; `scope` is where its annotations may be defined, too.

    Raises:
        DeclarationError: it is not a function of a payload and, if it likes, a Context; or `run_in` does not fit.
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
    wants_context = len(positional) > 1 and (positional[1] in required or hints.get(positional[1].name) is Context)
    if positional[0].name not in hints:
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
        wants_context=wants_context,
        payload=hints[positional[0].name],
    )


def caller_scope() -> dict[str, Any]:
    """The names that are local where our caller was called: a payload's type may be defined there."""
    frame = inspect.currentframe()
    caller = frame.f_back.f_back if frame is not None and frame.f_back is not None else None
    return dict(caller.f_locals) if caller is not None else {}


def _check_importable(name: str, function: Callable[..., Any]) -> None:
    """Refuse what another process cannot find: it imports the module that declares the handler."""
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
