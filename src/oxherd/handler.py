"""A handler: the function that processes an event, what its signature says, and who declares it."""

from __future__ import annotations

import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

from oxherd.context import Context
from oxherd.declaration import Declaration, RunIn
from oxherd.errors import DeclarationError
from oxherd.process import Process
from oxherd.resources.declared import Resources
from oxherd.resources.dependency import Dependency, Needs, find_dependency
from oxherd.signals import Signals
from oxherd.signature import inner, is_context


@dataclass(frozen=True, slots=True)
class Handler:
    """A function that processes an event.

    Attributes:
        call: runs it with a payload, a Context, which not every one takes, and by name what it `needs`.
        process: limits the processes that it runs in, if it does.
    """

    function: Callable[..., Any]
    run_in: RunIn
    call: Callable[..., Any]
    payload: Any
    result: Any = Any
    process: Process = field(default_factory=Process)
    needs: Needs = ()


@dataclass(frozen=True, slots=True)
class DeclaredHandler:
    """A handler with its event, and its herd's signals and resources; `close` ends what it opened by its herd."""

    declaration: Declaration
    handler: Handler
    signals: Signals
    resources: Resources
    close: Callable[[], None]


class DeclaresHandlers(ABC):
    """Base of Oxherd and Event: a handler's process finds it among a module's globals."""

    @abstractmethod
    def declared_handlers(self) -> Iterator[DeclaredHandler]:
        """The handlers that it declares."""


def inspect_handler(
    name: str, function: Callable[..., Any], run_in: RunIn | Process | None, scope: dict[str, Any] | None = None
) -> Handler:
    """Read from a function's signature how to call it; `scope` has further names that its annotations may use.

    Raises:
        DeclarationError: it is not a function of a payload and, optionally, a Context and dependencies; or `run_in`
            does not fit it.
    """
    if isinstance(function, DeclaresHandlers):
        raise DeclarationError(f"{name}: it decorates an event; give each event a handler of its own.")
    if not callable(function) or inspect.isclass(function):
        raise DeclarationError(f"{name}: a handler is a function, or an object that is called like one; make it a def.")
    signature = _signature(name, function, scope)
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(inner(function))
    body = inner(function, wrapped=not is_async)
    if inspect.isgeneratorfunction(body) or inspect.isasyncgenfunction(body):
        raise DeclarationError(f"{name}: a handler is no generator; return a list, or emit an event for each part.")
    if is_async and run_in not in (None, "loop"):
        raise DeclarationError(
            f"{name}: an async handler runs in the event loop; make it a def to use run_in={run_in!r}."
        )
    process = run_in if isinstance(run_in, Process) else Process()
    place = "process" if isinstance(run_in, Process) else run_in
    if not is_async and place not in (None, "thread", "process"):
        raise DeclarationError(f"{name}: run_in must be 'thread', 'process' or a Process(...) for a def handler.")
    if place == "process":
        _check_importable(name, function)
    where: RunIn = "loop" if is_async else (place or "thread")
    call = _caller(function, signature)
    return Handler(function, where, call, signature.payload, signature.result, process, signature.needs)


@dataclass(frozen=True, slots=True)
class _Signature:
    """What a handler takes and returns; `context` is the parameter that takes the Context, `second` if it follows."""

    payload: Any
    result: Any
    context: inspect.Parameter | None
    second: bool
    needs: Needs


def _signature(name: str, function: Callable[..., Any], scope: dict[str, Any] | None) -> _Signature:
    try:
        parameters = inspect.signature(function).parameters.values()
        hints = get_type_hints(inner(function, wrapped=True), localns=scope, include_extras=True)
    except NameError as error:
        raise DeclarationError(
            f"{name}: an annotation of the handler names {error.name!r}, which is not defined there; import it."
        ) from None
    except (TypeError, ValueError) as error:
        raise DeclarationError(f"{name}: the handler's signature cannot be read ({type(error).__name__}).") from None
    bound: Iterable[str] = function.keywords if isinstance(function, partial) else ()
    free = [each for each in parameters if each.name not in bound]
    if not free or free[0].kind not in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
        raise DeclarationError(
            f"{name}: a handler takes the payload first and, if it likes, a Context and dependencies."
        )
    payload, *others = free
    if payload.name not in hints:
        raise DeclarationError(f"{name}: annotate the handler's first parameter with the payload's type.")
    if is_context(hints[payload.name]):
        raise DeclarationError(f"{name}: the handler's first parameter is the payload; let the Context follow it.")
    if find_dependency(name, payload, hints[payload.name], scope) is not None:
        raise DeclarationError(f"{name}: the handler's first parameter is the payload; let dependencies follow it.")
    context: inspect.Parameter | None = None
    needs: list[tuple[str, Dependency]] = []
    for other in others:
        hint = hints.get(other.name)
        if (found := find_dependency(name, other, hint, scope)) is not None:
            needs.append((other.name, found))
        elif context is None and is_context(hint):
            context = other
        else:
            raise DeclarationError(
                f"{name}: the handler's parameter {other.name!r} is neither the payload nor a Context nor a "
                "dependency; make it a part of the payload, or annotate it with Context or "
                "Annotated[..., Depends(...)]."
            )
    second = context is not None and others[0] is context and context.kind is not context.KEYWORD_ONLY
    return _Signature(hints[payload.name], hints.get("return", Any), context, second, tuple(needs))


def _caller(function: Callable[..., Any], signature: _Signature) -> Callable[..., Any]:
    def without_context(payload: Any, _: Context) -> Any:
        return function(payload)

    def with_needs(payload: Any, _: Context, /, **needs: Any) -> Any:
        return function(payload, **needs)

    def by_name(payload: Any, context: Context, /, **needs: Any) -> Any:
        return function(payload, **{name: context}, **needs)

    if signature.second:
        return function
    if signature.context is None:
        return with_needs if signature.needs else without_context
    name = signature.context.name
    return by_name


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
