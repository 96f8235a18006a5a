"""What a handler depends on, as its annotations say: a tree of functions, read once at the declaration."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import Annotated, Any, cast, get_args, get_origin, get_type_hints

from oxherd.errors import DeclarationError
from oxherd.resources.lifespan import Lifespan
from oxherd.signature import inner, is_context

# What only a web request can give.
_WEB = ("fastapi", "starlette")


@dataclass(frozen=True, slots=True)
class Depends:
    """Says by which function a handler's parameter is made: `Annotated[Mailer, Depends(get_mailer)]`.

    The function is a `def`, an `async def` or a generator of either kind that yields once, and is closed after the run.
    It may take a Context and dependencies of its own. A `worker_lifespan` may stand in its place, for what it yields.
    """

    dependency: Callable[..., Any]


class Kind(Enum):
    """How a dependency makes its value."""

    VALUE = auto()
    COROUTINE = auto()
    GENERATOR = auto()
    ASYNC_GENERATOR = auto()
    LIFESPAN = auto()


@dataclass(frozen=True, slots=True, eq=False)
class Dependency:
    """A function that makes a value for a run.

    Attributes:
        make: the function, or for a generator, a function that returns its context manager.
        contexts: its parameters that take the Context; `needs`: those that take what others make.
        cached: whether a run makes one value, however often it is needed.
    """

    function: Callable[..., Any]
    kind: Kind
    make: Callable[..., Any]
    contexts: tuple[str, ...] = ()
    needs: tuple[tuple[str, Dependency], ...] = ()
    cached: bool = True

    @property
    def key(self) -> object:
        """Under which a run keeps its value."""
        return self.function if self.cached else self

    @property
    def is_async(self) -> bool:
        """Whether only an event loop can make it."""
        return self.kind in (Kind.COROUTINE, Kind.ASYNC_GENERATOR)

    @property
    def name(self) -> str:
        """The function's name."""
        return _name(self.function)


Needs = tuple[tuple[str, Dependency], ...]


def read_dependency(
    owner: str, function: Any, scope: dict[str, Any] | None = None, *, cached: bool = True, within: tuple[Any, ...] = ()
) -> Dependency:
    """Read a function and what it depends on; `owner` is whose dependency it is, for messages.

    Raises:
        DeclarationError: it cannot be called with a Context and dependencies alone.
    """
    if isinstance(function, Lifespan):
        lifespan = cast("Lifespan[Any]", function)
        return Dependency(lifespan, Kind.LIFESPAN, lifespan)
    if not callable(function):
        raise DeclarationError(f"{owner}: Depends takes a function, not a {type(function).__name__}; pass a def.")
    if function in within:
        raise DeclarationError(f"{owner}: the dependency {_name(function)} depends on itself; break the circle.")
    where = f"{owner}: the dependency {_name(function)}"
    contexts: list[str] = []
    needs: list[tuple[str, Dependency]] = []
    for parameter, hint in _parameters(where, function, scope):
        found = find_dependency(owner, parameter, hint, scope, (*within, function))
        if found is not None:
            needs.append((parameter.name, found))
        elif is_context(hint):
            contexts.append(parameter.name)
        elif parameter.default is parameter.empty:
            raise DeclarationError(
                f"{where} has a parameter {parameter.name!r} that is neither a dependency nor a Context; annotate it "
                "with either, or give it a default."
            )
    kind = _kind(function)
    return Dependency(function, kind, _made_by(kind, function), tuple(contexts), tuple(needs), cached)


def _made_by(kind: Kind, function: Callable[..., Any]) -> Callable[..., Any]:
    if kind is Kind.GENERATOR:
        return contextmanager(function)
    return asynccontextmanager(function) if kind is Kind.ASYNC_GENERATOR else function


def find_dependency(
    owner: str, parameter: inspect.Parameter, hint: Any, scope: dict[str, Any] | None, within: tuple[Any, ...] = ()
) -> Dependency | None:
    """The dependency that a parameter is marked with, if any; raises DeclarationError as `read_dependency`."""
    web = sys.modules.get("fastapi.params")  # FastAPI's marks mean the same; whoever uses them has imported it
    for mark in (*_metadata(hint), parameter.default):
        if isinstance(mark, Depends):
            function, cached = mark.dependency, True
        elif web is not None and isinstance(mark, web.Security | web.Param | web.Body):
            raise _of_a_request(owner, parameter)
        elif web is not None and isinstance(mark, web.Depends):
            function, cached = mark.dependency or _plain(hint), mark.use_cache
        else:
            continue
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise DeclarationError(f"{owner}: the parameter {parameter.name!r} is positional only; take away the '/'.")
        return read_dependency(owner, function, scope, cached=cached, within=within)
    if getattr(_plain(hint), "__module__", "").partition(".")[0] in _WEB:
        raise _of_a_request(owner, parameter)
    return None


def _of_a_request(owner: str, parameter: inspect.Parameter) -> DeclarationError:
    return DeclarationError(
        f"{owner}: the parameter {parameter.name!r} of a dependency needs a web request, which an event does not have; "
        "split off what works without one, and depend on that."
    )


def _parameters(
    where: str, function: Callable[..., Any], scope: dict[str, Any] | None
) -> Iterator[tuple[inspect.Parameter, Any]]:
    """The parameters that a call must think of, with their annotations."""
    annotated = function.__init__ if inspect.isclass(function) else inner(function, wrapped=True)
    try:
        parameters = inspect.signature(function).parameters.values()
        hints = get_type_hints(annotated, localns=scope, include_extras=True)
    except NameError as error:
        raise DeclarationError(
            f"{where} has an annotation that names {error.name!r}, which is not defined there; import it."
        ) from None
    except (TypeError, ValueError) as error:
        raise DeclarationError(f"{where} has a signature that cannot be read ({type(error).__name__}).") from None
    bound = function.keywords if isinstance(function, partial) else {}
    for parameter in parameters:
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) and parameter.name not in bound:
            yield parameter, hints.get(parameter.name)


def _kind(function: Callable[..., Any]) -> Kind:
    if inspect.isclass(function):
        return Kind.VALUE
    body = inner(function)
    if inspect.isasyncgenfunction(body):
        return Kind.ASYNC_GENERATOR
    if inspect.isgeneratorfunction(body):
        return Kind.GENERATOR
    return Kind.COROUTINE if inspect.iscoroutinefunction(body) else Kind.VALUE


def _metadata(hint: Any) -> tuple[Any, ...]:
    """What stands beside the type in Annotated, also in a `type` statement's."""
    if hasattr(hint, "__value__"):
        return _metadata(hint.__value__)
    if get_origin(hint) is not Annotated:
        return ()
    kind, *metadata = get_args(hint)
    return (*_metadata(kind), *metadata)


def _plain(hint: Any) -> Any:
    """The type without what stands beside it."""
    if hasattr(hint, "__value__"):
        return _plain(hint.__value__)
    return _plain(get_args(hint)[0]) if get_origin(hint) is Annotated else hint


def _name(function: Callable[..., Any]) -> str:
    called: Any = function
    while isinstance(called, partial):
        called = cast("partial[Any]", called).func
    return getattr(called, "__name__", type(called).__name__)
