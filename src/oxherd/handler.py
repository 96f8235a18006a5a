"""A handler: the function that processes an event, what its signature says, and who declares it."""

from __future__ import annotations

import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MethodType, NoneType, UnionType
from typing import Annotated, Any, Union, cast, get_args, get_origin, get_type_hints

from oxherd.context import Context
from oxherd.declaration import Declaration, RunIn
from oxherd.errors import DeclarationError
from oxherd.process import Process
from oxherd.signals import Signals


@dataclass(frozen=True, slots=True)
class Handler:
    """A function that processes an event; `call` runs it with a payload and a Context, which not every one takes.

    `process` limits the processes that it runs in, if it does.
    """

    function: Callable[..., Any]
    run_in: RunIn
    call: Callable[[Any, Context], Any]
    payload: Any
    result: Any = Any
    process: Process = field(default_factory=Process)


@dataclass(frozen=True, slots=True)
class DeclaredHandler:
    """A handler with its event, and its herd's signals; `close` ends the connections that it opened by its herd."""

    declaration: Declaration
    handler: Handler
    signals: Signals
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
        DeclarationError: it is not a function of a payload and, optionally, a Context; or `run_in` does not fit it.
    """
    if isinstance(function, DeclaresHandlers):
        raise DeclarationError(f"{name}: it decorates an event; give each event a handler of its own.")
    if not callable(function) or inspect.isclass(function):
        raise DeclarationError(f"{name}: a handler is a function, or an object that is called like one; make it a def.")
    payload, context, result = _signature(name, function, scope)
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(_inner(function))
    body = _inner(function, wrapped=not is_async)
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
    return Handler(function, where, _caller(function, context), payload, result, process)


def _signature(
    name: str, function: Callable[..., Any], scope: dict[str, Any] | None
) -> tuple[Any, inspect.Parameter | None, Any]:
    """The payload's type, the parameter that takes the Context, if there is one, and the result's type."""
    try:
        parameters = inspect.signature(function).parameters.values()
        hints = get_type_hints(_inner(function, wrapped=True), localns=scope, include_extras=True)
    except NameError as error:
        raise DeclarationError(
            f"{name}: an annotation of the handler names {error.name!r}, which is not defined there; import it."
        ) from None
    except (TypeError, ValueError) as error:
        raise DeclarationError(f"{name}: the handler's signature cannot be read ({type(error).__name__}).") from None
    bound: Iterable[str] = function.keywords if isinstance(function, partial) else ()
    free = [each for each in parameters if each.name not in bound]
    if not free or free[0].kind not in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
        raise DeclarationError(f"{name}: a handler takes the payload first and, if it likes, a Context.")
    payload, *others = free
    if payload.name not in hints:
        raise DeclarationError(f"{name}: annotate the handler's first parameter with the payload's type.")
    if _is_context(hints[payload.name]):
        raise DeclarationError(f"{name}: the handler's first parameter is the payload; let the Context follow it.")
    for index, other in enumerate(others):
        if index or not _is_context(hints.get(other.name)):
            raise DeclarationError(
                f"{name}: the handler's parameter {other.name!r} is neither the payload nor a Context; make it a part "
                "of the payload, or annotate it with Context."
            )
    return hints[payload.name], others[0] if others else None, hints.get("return", Any)


def _is_context(annotation: Any) -> bool:
    """Whether an annotation means Context: also by another name, with None or with metadata."""
    if hasattr(annotation, "__value__"):  # a `type` statement's
        return _is_context(annotation.__value__)
    if get_origin(annotation) in (Annotated, Union, UnionType):
        given = get_args(annotation)[:1] if get_origin(annotation) is Annotated else get_args(annotation)
        return all(each is NoneType or _is_context(each) for each in given)
    return annotation is Context


def _inner(function: Callable[..., Any], *, wrapped: bool = False) -> Callable[..., Any]:
    """The function that is called in the end: by a partial, a method or an object; `wrapped`: by decorators as well."""
    called: Any = function
    while True:
        if isinstance(called, partial):
            called = cast("partial[Any]", called).func
        elif isinstance(called, MethodType | staticmethod):
            called = cast("MethodType", called).__func__
        elif wrapped and hasattr(called, "__wrapped__"):
            called = called.__wrapped__
        elif inspect.isroutine(called):
            return called
        else:
            called = type(called).__call__


def _caller(function: Callable[..., Any], context: inspect.Parameter | None) -> Callable[[Any, Context], Any]:
    if context is None:
        return lambda payload, _: function(payload)
    if context.kind is context.KEYWORD_ONLY:
        return lambda payload, value: function(payload, **{context.name: value})
    return function


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
