"""Payloads of every kind: how they are generated, and which values are followed."""

from __future__ import annotations

import datetime as dt
import sys
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, SecretStr, model_validator
from typing_extensions import TypedDict

from oxherd import ConfigError, InvalidPayload, Oxherd
from oxherd.declaration import Declaration
from oxherd.testing import assert_no_leak
from oxherd.testing.canaries import plant
from oxherd.testing.example import example


class Colour(Enum):
    RED = "red as a rose"


class Line(BaseModel):
    sku: str
    count: int


class Card(BaseModel):
    kind: Literal["card"]
    number: SecretStr


class Transfer(BaseModel):
    kind: Literal["transfer"]
    iban: str


@dataclass
class Address:
    street: str
    lines: list[Line]


class Form(TypedDict):
    name: str
    address: Address


def declaration(annotation: Any) -> Declaration:
    return Oxherd("unix:///nowhere").declare("order.placed", annotation).declaration


@pytest.mark.parametrize(
    ("annotation", "followed"),
    [
        (list[Line], ["0.sku"]),
        (str, ["the payload"]),
        (SecretStr, ["the payload"]),
        (dict[str, Line], 2),
        (dict[str, Any], 2),
        (Card | Transfer, 1),
        (Annotated[Card | Transfer, Field(discriminator="kind")], 1),
        (Address, ["street", "lines.0.sku"]),
        (Form, ["name", "address.street", "address.lines.0.sku"]),
        (tuple[int, HttpUrl], ["1"]),
        (int, []),
    ],
    ids=str,
)
def test_a_payload_of_any_type_is_generated_and_followed(annotation: Any, followed: list[str] | int) -> None:
    payload_type = declaration(annotation).payload
    planted = plant(payload_type, example(payload_type))
    paths = [canary.path for canary in planted.canaries]
    assert paths == followed or len(paths) == followed
    assert all(canary.core.encode() in planted.raw for canary in planted.canaries)
    payload_type.encode(payload_type.decode(planted.raw))


def test_an_event_whose_payload_is_not_a_model_passes(local_herd: Oxherd, standalone: str) -> None:
    @local_herd.event("order.placed")
    async def placed(order: dict[str, list[Line | str]]) -> None:
        raise ValueError(order)

    assert len(assert_no_leak(placed, url=standalone)) == 2


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")

    card: Annotated[str, Field(pattern=r"^\d{4} \d{4} \d{4} \d{4}$")] = "4111 1111 1111 1111"
    code: Annotated[str, Field(pattern=r"^[a-z]{8}$")] = "abcdefgh"
    id: UUID = UUID("0198a0f0-5bd1-7c3e-9a55-2f6b7c1d0e4f")
    day: dt.date = dt.date(2026, 11, 24)
    at: dt.datetime = dt.datetime(2026, 11, 24, tzinfo=dt.UTC)
    site: HttpUrl = HttpUrl("https://example.com/me")
    amount: Decimal = Decimal("12.50")
    account: int = 12_345_678
    counter: int = 12
    small: Annotated[int, Field(le=999_999)] = 999_999
    colour: Colour = Colour.RED
    word: Literal["a word of its own"] = "a word of its own"
    short: Annotated[str, Field(max_length=4)] = "DE"
    flag: bool = True


def test_each_field_keeps_its_shape_and_fixed_values_stay() -> None:
    payload_type = declaration(Strict).payload
    planted = plant(payload_type, Strict())
    paths = [canary.path for canary in planted.canaries]
    assert paths == ["card", "code", "id", "day", "at", "site", "amount", "account"]
    made: Strict = payload_type.decode(planted.raw)
    kept = {name: value for name, value in made if value == getattr(Strict(), name)}
    assert set(kept) == {"counter", "small", "colour", "word", "short", "flag"}


class Lucky(BaseModel):
    """Only some cards are cards."""

    card: str

    @model_validator(mode="after")
    def _check(self) -> Lucky:
        digits = [int(digit) for digit in reversed(self.card)]
        doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[1::2]]
        if (sum(digits[::2]) + sum(doubled)) % 10:
            raise ValueError("no card")
        return self


def test_a_number_keeps_its_check_digit() -> None:
    payload_type = declaration(Lucky).payload
    (canary,) = plant(payload_type, {"card": "4111111111111111"}).canaries
    assert canary.core.isdigit()
    assert len(canary.core) == 16


def test_an_invalid_example_is_refused() -> None:
    with pytest.raises(InvalidPayload, match="sku"):
        assert_no_leak(Oxherd("unix:///nowhere").declare("order.placed", Line), {"count": 1})


def test_a_payload_must_be_passed_without_polyfactory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polyfactory.factories.pydantic_factory", None)
    with pytest.raises(ConfigError, match=r"^order.placed: pass a payload, or install oxherd\[testing\]"):
        assert_no_leak(Oxherd("unix:///nowhere").declare("order.placed", Line))


def test_a_payload_must_be_passed_if_none_can_be_generated(standalone: str) -> None:
    with pytest.raises(ConfigError, match="no payload can be generated from its type"):
        assert_no_leak(Oxherd(standalone).declare("order.placed", Lucky))
