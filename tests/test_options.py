"""The options of a declaration and of an emit: refused by name where no checker has looked (tests/typing)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Unpack

import pytest
from pydantic import BaseModel

from oxherd import (
    DeclarationError,
    DeclareOptions,
    EmitManyOptions,
    EmitOptions,
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


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"concurency": 5}, "no option 'concurency'; did you mean 'concurrency'?"),
        ({"runin": "thread"}, "no option 'runin'; did you mean 'run_in'?"),
        ({"zzz": 1}, "no option 'zzz'; the options are concurrency, durable, "),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest_known_one(options: dict[str, Any], hint: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        Oxherd().event("order.placed", **options)
    assert str(caught.value).startswith(f"order.placed: there is {hint}")


def test_run_in_is_refused_on_a_declaration_without_a_handler() -> None:
    options: Any = {"run_in": "process"}
    with pytest.raises(DeclarationError, match=r"^order\.placed: there is no option 'run_in'; the options are "):
        Oxherd().declare("order.placed", Order, **options)


async def test_an_unknown_option_of_an_emit_is_refused_before_anything_is_sent() -> None:
    order, misspelt, many = Order(order_id=1), {"prority": 1}, {"id": None}
    for emit in (declared.emit(order, **misspelt), declared.emit_many([], **misspelt)):  # pyright: ignore
        with pytest.raises(DeclarationError, match=r"^order\.declared: .* 'prority'; did you mean 'priority'\?$"):
            await emit
    with pytest.raises(
        DeclarationError, match="no option 'id'; the options are at, delay, durable, expires, once, priority"
    ):
        await declared.emit_many([], **many)  # pyright: ignore


def test_options_that_are_handed_on_reach_the_declaration() -> None:
    @usual("order.usual", concurrency=7)
    def _(order: Order) -> None: ...

    declaration = herd["order.usual"].declaration
    assert (declaration.timeout, declaration.concurrency, declaration.lock) == (5, 7, 30)
    assert (order_placed.declaration.concurrency, declared.declaration.concurrency) == (5, 3)


def test_every_option_is_described() -> None:
    for options, inherited in ((DeclareOptions, None), (EventOptions, DeclareOptions), (EmitManyOptions, None)):
        described = inspect.getdoc(options) or ""
        for name in options.__optional_keys__ - (inherited.__optional_keys__ if inherited else set()):
            assert f"\n    {name}: " in described
    assert "\n    id: " in (inspect.getdoc(EmitOptions) or "")
