"""A herd's resources: what its handlers depend on, as declared, and what a test puts in its place."""

from __future__ import annotations

import asyncio
import inspect
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from oxherd.context import Context, running_loop
from oxherd.errors import DeclarationError, UsageError, did_you_mean
from oxherd.resources.dependency import Dependency, Needs, read_dependency
from oxherd.resources.lifespan import Lifespan, OpenLifespans
from oxherd.resources.resolution import LifespanValues, Resolution
from oxherd.resources.sync_middleware import SyncMiddleware

if TYPE_CHECKING:
    from oxherd.app import Oxherd

T = TypeVar("T")


class CallNext(Protocol):
    """What middleware is given to call: the next middleware or, in the end, the handler."""

    def __call__(self, ctx: Context, /) -> Awaitable[object]:
        """Go on with the run; its result, or what the handler raised."""
        ...


Middleware = Callable[[Context, CallNext], Awaitable[object]]
M = TypeVar("M", bound=Middleware)
S = TypeVar("S", bound=SyncMiddleware)


class Resources:
    """What is declared on a herd beside its events.

    Attributes:
        lifespans, middleware, sync_middleware: in the order of declaration.
        overrides: what tests put in the place of dependencies.
        application: a module that a handler's own process imports before the handler's, where a framework has one to be
            set up by.
    """

    def __init__(self, herd: Oxherd) -> None:
        self._herd = herd
        self.lifespans: list[Lifespan[Any]] = []
        self.middleware: list[Middleware] = []
        self.sync_middleware: list[SyncMiddleware] = []
        self.overrides: dict[Callable[..., Any], Dependency] = {}
        self.application: str | None = None
        self._values: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Callable[..., Any], Any]] = (
            weakref.WeakKeyDictionary()
        )

    def adopt(self, other: Resources) -> None:
        """Have what another herd has, for events that are copied from there."""
        self.lifespans, self.overrides = other.lifespans, other.overrides
        self.middleware, self.sync_middleware = other.middleware, other.sync_middleware
        self.application = other.application

    def values_here(self) -> dict[Callable[..., Any], Any]:
        """What the lifespans of the running loop have yielded; nothing while they are closed."""
        loop = running_loop()
        return {} if loop is None else self._values.setdefault(loop, {})

    def open_lifespans(self) -> OpenLifespans:
        """The lifespans of the running loop, still closed."""
        return OpenLifespans(self._herd, self.lifespans, self.values_here())

    def resolution(self, needs: Needs, context: Context, lifespans: LifespanValues | None = None) -> Resolution:
        """What makes the dependencies of one run; `lifespans` are those of the running loop unless given."""
        return Resolution(needs, context, self.values_here() if lifespans is None else lifespans, self.overrides)

    @contextmanager
    def override(self, dependency: Callable[..., Any], replacement: Callable[..., Any]) -> Generator[None]:
        """As `DeclaresResources.override`."""
        if not callable(dependency) or not callable(replacement):
            raise UsageError("override takes two functions, such as herd.override(get_mailer, lambda: FakeMailer()).")
        before = self.overrides.get(dependency)
        self.overrides[dependency] = read_dependency("override", replacement)
        try:
            yield
        finally:
            if before is None:
                del self.overrides[dependency]
            else:
                self.overrides[dependency] = before


class DeclaresResources:
    """The part of Oxherd that declares lifespans and middleware, and overrides dependencies."""

    resources: Resources

    def worker_lifespan(self, function: Callable[[Oxherd], AsyncIterator[T]], /) -> Lifespan[T]:
        """Decorator: run an async generator function around all events of each process that runs handlers.

        Up to its `yield` it runs before the first event, the rest after the last; several nest in the order of
        declaration. What it yields is had by `Depends(function)`. If it raises before its `yield`, `start` raises a
        LifespanError and processes nothing. What it raises afterwards is logged.

        Raises:
            DeclarationError: it is no async generator function of one argument.
        """
        lifespan = Lifespan(function)
        _check_parameters(function, 1, "worker_lifespan takes an async generator function of the herd.")
        self.resources.lifespans.append(lifespan)
        return lifespan

    def middleware(self, function: M, /) -> M:
        """Decorator: run an async function around each run of a handler, the first declared outermost.

        It is given the Context and `call_next`, and what it returns is the event's result. Declare it before the start.

        Raises:
            DeclarationError: it is no `async def` of two arguments.
        """
        sentence = "middleware takes an async function of a Context and call_next."
        if not inspect.iscoroutinefunction(function) and not inspect.iscoroutinefunction(type(function).__call__):
            raise DeclarationError(f"{sentence[:-1]}; make it an async def.")
        _check_parameters(function, 2, sentence)
        self.resources.middleware.append(function)
        return function

    def sync_middleware(self, function: S, /) -> S:
        """Decorator: run a function around each run of a `def` handler, in its thread or process, the first outermost.

        For what belongs to a thread: a database connection, an application context. It is given the Context and
        `call_next`, and what it returns is the event's result. The handler's `def` dependencies are made and closed
        inside. Handlers that are `async def` run without it. Declare it before the start.

        Raises:
            DeclarationError: it is no `def` of two arguments.
        """
        sentence = "sync_middleware takes a function of a Context and call_next."
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
            raise DeclarationError(f"{sentence[:-1]}; make it a def, or declare it by herd.middleware.")
        _check_parameters(function, 2, sentence)
        self.resources.sync_middleware.append(function)
        return function

    @contextmanager
    def override(self, dependency: Callable[..., Any], replacement: Callable[..., Any]) -> Generator[None]:
        """Put another function in the place of a dependency, or of a lifespan, for tests.

        It holds in this process, for events that begin and plain calls that are made meanwhile.

        Raises:
            UsageError: one of them is no function.
            DeclarationError: the replacement cannot be a dependency.
        """
        with self.resources.override(dependency, replacement):
            yield


def _check_parameters(function: Callable[..., Any], number: int, sentence: str) -> None:
    try:
        inspect.signature(function).bind(*range(number))
    except TypeError:
        raise DeclarationError(sentence) from None


def needs_beside(event: str, needs: Needs, given: Iterable[str]) -> Needs:
    """The dependencies that are not passed by name.

    Raises:
        UsageError: what is passed is no dependency of the handler.
    """
    names = [name for name, _ in needs]
    for name in given:
        if name not in names:
            hint = did_you_mean(name, names, f"its dependencies are: {', '.join(names) or 'none'}.")
            raise UsageError(f"{event}: its handler has no dependency {name!r}; {hint}")
    return tuple(each for each in needs if each[0] not in given)
