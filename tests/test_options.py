# pyright: reportUnnecessaryTypeIgnoreComment=true
"""The options of a declaration and of an emit: typed for a checker, and refused by name where nobody checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack, assert_type

import pytest
from pydantic import BaseModel

from oxherd import (
    DeclarationError,
    DeclareOptions,
    EmitManyOptions,
    EmitOptions,
    Emitted,
    Event,
    EventOptions,
    Oxherd,
)


class Order(BaseModel):
    order_id: int


herd = Oxherd()
declared = herd.declare("order.declared", Order, key=lambda order: order.order_id, concurrency=3)


@herd.event("order.placed", concurrency=5, run_in="thread")
def order_placed(order: Order) -> str:
    return str(order.order_id)


def usual(name: str, **options: Unpack[EventOptions]) -> Callable[..., Any]:
    """What a project of several events writes around `herd.event`."""
    return herd.event(name, **{"timeout": 5, **options})


# -- what a checker sees: an ignored error that is none is an error itself


async def checked() -> None:
    assert_type(declared, Event[Order, Any])
    assert_type(order_placed, Event[Order, str])
    assert_type(await order_placed.emit(Order(order_id=1), delay=1), Emitted[str])
    herd.declare("a", Order, key=lambda order: order.nothing)  # pyright: ignore
    herd.declare("a", Order, concurrency="5")  # pyright: ignore[reportCallIssue, reportArgumentType]
    herd.declare("a", Order, run_in="process")  # pyright: ignore[reportCallIssue]
    herd.event("a", concurency=5)  # pyright: ignore[reportCallIssue]
    herd.event("a", run_in="nowhere")  # pyright: ignore[reportArgumentType]
    await declared.emit(Order(order_id=1), prioriti=1)  # pyright: ignore[reportCallIssue]
    await declared.emit_many([Order(order_id=1)], id=None)  # pyright: ignore[reportCallIssue]
    declared.emit_sync(Order(order_id=1), durable=1)  # pyright: ignore[reportArgumentType]


# -- what nobody has checked


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"concurency": 5}, "no option 'concurency'; did you mean 'concurrency'?"),
        ({"runin": "thread"}, "no option 'runin'; did you mean 'run_in'?"),
        ({"zzz": 1}, "no option 'zzz'; the options are concurrency, durable, "),
    ],
)
def test_an_option_that_there_is_not_is_refused_with_the_nearest_at_the_handler(
    options: dict[str, Any], hint: str
) -> None:
    with pytest.raises(DeclarationError) as caught:
        Oxherd().event("order.placed", **options)
    assert str(caught.value).startswith(f"order.placed: there is {hint}")


def test_where_a_handler_runs_is_not_for_a_declaration_without_one() -> None:
    options: Any = {"run_in": "process"}
    with pytest.raises(DeclarationError, match=r"^order\.placed: there is no option 'run_in'; the options are "):
        Oxherd().declare("order.placed", Order, **options)


async def test_an_option_of_an_emit_that_there_is_not_is_refused_before_anything_is_sent() -> None:
    order, misspelt, many = Order(order_id=1), {"prority": 1}, {"id": None}
    for emit in (declared.emit(order, **misspelt), declared.emit_many([], **misspelt)):  # pyright: ignore
        with pytest.raises(DeclarationError, match=r"^order\.declared: .* 'prority'; did you mean 'priority'\?$"):
            await emit
    with pytest.raises(DeclarationError, match="no option 'id'; the options are delay, durable, once, priority"):
        await declared.emit_many([], **many)  # pyright: ignore


def test_options_that_are_handed_on_reach_the_declaration() -> None:
    @usual("order.usual", concurrency=7)
    def _(order: Order) -> None: ...

    declaration = herd["order.usual"].declaration
    assert (declaration.timeout, declaration.concurrency, declaration.lock) == (5, 7, 30)
    assert (order_placed.declaration.concurrency, declared.declaration.concurrency) == (5, 3)


def test_every_option_is_described() -> None:
    for options, inherited in ((DeclareOptions, None), (EventOptions, DeclareOptions), (EmitManyOptions, None)):
        assert options.__doc__ is not None
        for name in options.__optional_keys__ - (inherited.__optional_keys__ if inherited else set()):
            assert f"        {name}: " in options.__doc__
    assert "        id: " in (EmitOptions.__doc__ or "")
