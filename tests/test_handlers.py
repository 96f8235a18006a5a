"""What may be a handler: how it is called, by whatever wraps it, and what is refused where it is declared."""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from typing import Annotated, Any, Optional

import pytest

from oxherd import Context, DeclarationError, Oxherd

Alias = Context


async def plain(number: int) -> int:
    return number + 1


def threaded(number: int) -> int:
    return number + 1


async def with_context(number: int, ctx: Context) -> int:
    return number + ctx.attempt


async def with_optional(number: int, ctx: Context | None = None) -> int:
    assert ctx is not None
    return number + ctx.attempt


async def with_old_optional(number: int, ctx: Optional[Context]) -> int:  # noqa: UP045
    assert ctx is not None
    return number + ctx.attempt


async def with_annotated(number: int, ctx: Annotated[Context, "ours"]) -> int:
    return number + ctx.attempt


async def with_alias(number: int, ctx: Alias) -> int:
    return number + ctx.attempt


async def with_string(number: "int", ctx: "Context") -> int:  # noqa: UP037
    return number + ctx.attempt


async def positional_only(number: int, ctx: Context, /) -> int:
    return number + ctx.attempt


async def keyword_only(number: int, *, ctx: Context) -> int:
    return number + ctx.attempt


async def with_dependency(number: int, more: int, ctx: Context) -> int:
    return number + more + ctx.attempt - 1


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return call


class Decorator:
    """A decorator that is a class."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)


class Called:
    def __call__(self, number: int, ctx: Context) -> int:
        return number + ctx.attempt


class CalledAsync:
    async def __call__(self, number: int) -> int:
        return number + 1


class Methods:
    async def method(self, number: int, ctx: Context) -> int:
        return number + ctx.attempt

    @classmethod
    async def of_class(cls, number: int) -> int:
        return number + 1

    @staticmethod
    async def static(number: int) -> int:
        return number + 1


class LaterInt:
    """An awaitable that is no coroutine."""

    def __init__(self, value: int) -> None:
        self._value = value

    def __await__(self) -> Generator[Any, None, int]:
        yield from asyncio.sleep(0).__await__()
        return self._value


def returns_awaitable(number: int) -> Awaitable[int]:
    return LaterInt(number + 1)


async def returns_task(number: int) -> asyncio.Task[int]:
    return asyncio.create_task(plain(number))


async def returns_coroutine(number: int) -> Any:
    return plain(number)


HANDLERS: dict[str, tuple[Callable[..., Any], str]] = {
    "async def": (plain, "loop"),
    "def": (threaded, "thread"),
    "context": (with_context, "loop"),
    "context or None": (with_optional, "loop"),
    "Optional context": (with_old_optional, "loop"),
    "annotated context": (with_annotated, "loop"),
    "alias of context": (with_alias, "loop"),
    "annotations as strings": (with_string, "loop"),
    "positional only": (positional_only, "loop"),
    "keyword only": (keyword_only, "loop"),
    "partial": (functools.partial(with_dependency, more=1), "loop"),
    "partial of a partial": (functools.partial(functools.partial(with_dependency), more=1), "loop"),
    "wrapper around async def": (decorated(with_context), "thread"),
    "wrapper around def": (decorated(threaded), "thread"),
    "wrapper twice": (decorated(decorated(plain)), "thread"),
    "partial of a wrapper": (functools.partial(decorated(with_dependency), more=1), "thread"),
    "decorator that is a class": (Decorator(with_context), "thread"),
    "object": (Called(), "thread"),
    "object with an async call": (CalledAsync(), "loop"),
    "partial of an object": (functools.partial(CalledAsync()), "loop"),
    "method": (Methods().method, "loop"),
    "class method": (Methods.of_class, "loop"),
    "static method": (Methods.static, "loop"),
    "static method in its class": (Methods.__dict__["static"], "loop"),
    "awaitable": (returns_awaitable, "thread"),
    "task": (returns_task, "loop"),
    "coroutine": (returns_coroutine, "loop"),
}


@pytest.mark.parametrize("form", HANDLERS)
async def test_a_handler_may_have_any_form_that_is_called_like_a_function(form: str) -> None:
    function, run_in = HANDLERS[form]
    event = Oxherd().event("counted")(function)
    assert event.handler is not None
    assert (event.handler.run_in, event.handler.payload) == (run_in, int)
    assert await event(1) == 2


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs the type statement")
async def test_the_context_may_be_annotated_by_a_type_statement() -> None:
    scope: dict[str, Any] = {"Context": Context}
    exec("type Ours = Context\nasync def handler(number: int, ctx: Ours) -> int: return ctx.attempt", scope)
    assert await Oxherd().event("counted")(scope["handler"])(1) == 1


def yields(number: int) -> Iterator[int]:
    yield number


async def yields_async(number: int) -> AsyncIterator[int]:
    yield number


class Yielding:
    def __call__(self, number: int) -> Iterator[int]:
        yield number


class YieldingAsync:
    async def __call__(self, number: int) -> AsyncIterator[int]:
        yield number


class MyContext(Context):
    pass


def no_parameter() -> None: ...
def only_keywords(*, number: int) -> None: ...
def any_arguments(*args: int) -> None: ...
def no_annotation(number) -> None: ...  # type: ignore[no-untyped-def] # pyright: ignore
def no_annotation_of_context(number: int, ctx) -> None: ...  # type: ignore[no-untyped-def] # pyright: ignore
def second_parameter(order_id: int, amount: int) -> None: ...
def second_with_default(order_id: int, amount: int = 0) -> None: ...
def third_parameter(order_id: int, ctx: Context, amount: int) -> None: ...
def keyword_parameter(order_id: int, *, amount: int = 0) -> None: ...
def more_arguments(order_id: int, *args: int) -> None: ...
def more_keywords(order_id: int, **kwargs: int) -> None: ...
def two_contexts(order_id: int, ctx: Context, more: Context) -> None: ...
def context_first(ctx: Context, order_id: int) -> None: ...
def context_of_ones_own(order_id: int, ctx: MyContext) -> None: ...
def context_or_number(order_id: int, ctx: Context | int) -> None: ...


REFUSED: list[tuple[Any, str]] = [
    (yields, "no generator"),
    (yields_async, "no generator"),
    (functools.partial(yields), "no generator"),
    (functools.partial(yields_async), "no generator"),
    (decorated(yields), "no generator"),
    (decorated(yields_async), "no generator"),
    (decorated(functools.partial(yields_async)), "no generator"),
    (Decorator(yields), "no generator"),
    (Yielding(), "no generator"),
    (YieldingAsync(), "no generator"),
    (staticmethod(yields_async), "no generator"),
    (no_parameter, "takes the payload first"),
    (only_keywords, "takes the payload first"),
    (any_arguments, "takes the payload first"),
    (no_annotation, "annotate the handler's first parameter"),
    (no_annotation_of_context, "'ctx' is neither the payload nor a Context"),
    (second_parameter, "'amount' is neither"),
    (second_with_default, "'amount' is neither"),
    (third_parameter, "'amount' is neither"),
    (keyword_parameter, "'amount' is neither"),
    (more_arguments, "'args' is neither"),
    (more_keywords, "'kwargs' is neither"),
    (two_contexts, "'more' is neither"),
    (context_first, "first parameter is the payload"),
    (context_of_ones_own, "'ctx' is neither"),
    (context_or_number, "'ctx' is neither"),
    (Called, "make it a def"),
    (42, "make it a def"),
    (Methods.__dict__["of_class"], "make it a def"),
]


@pytest.mark.parametrize(
    ("function", "why"), REFUSED, ids=lambda value: value if isinstance(value, str) else type(value).__name__
)
def test_what_cannot_be_called_with_a_payload_is_refused_where_it_is_declared(function: Any, why: str) -> None:
    with pytest.raises(DeclarationError, match=why) as refused:
        Oxherd().event("counted")(function)
    assert str(refused.value).startswith("counted: ")
    with pytest.raises(DeclarationError, match=why):
        Oxherd().declare("counted", int).process(function)


def test_an_event_is_no_handler_of_another() -> None:
    herd = Oxherd()
    with pytest.raises(DeclarationError, match="a handler of its own"):
        herd.event("second")(herd.event("first")(plain))  # pyright: ignore


async def test_what_a_wrapper_makes_of_a_generator_is_its_result() -> None:
    @functools.wraps(yields_async)
    async def collected(number: int) -> list[int]:
        return [each async for each in yields_async(number)]

    assert await Oxherd().event("counted")(collected)(1) == [1]


async def test_a_plain_call_of_a_handler_that_runs_out_of_items_raises_and_does_not_hang() -> None:
    @Oxherd().event("counted")
    def runs_out(number: int) -> int:
        return next(iter([]))

    with pytest.raises(RuntimeError, match="StopIteration"):
        await runs_out(1)
