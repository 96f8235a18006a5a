"""A handler is given what was validated at the emit, or the emit is refused and says which field would differ."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

import pytest
from pydantic import (
    AliasPath,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    RootModel,
    SecretStr,
    TypeAdapter,
    with_config,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypedDict

from oxherd import DeclarationError, InvalidPayload, Keyring
from oxherd.payload.comparison import may_differ
from oxherd.payload.payload_type import PayloadType
from tests.payload.kinds import (
    ARRIVES,
    IDENTITY,
    MOMENT,
    REFUSED,
    TWICE,
    Box,
    Cat,
    Counted,
    Custom,
    Dog,
    Loose,
    Private,
    Puppy,
    Size,
)

T = TypeVar("T")


def typed(tp: Any) -> PayloadType[Any]:
    return PayloadType(tp, "order.placed", 1 << 20)


# -- settings that change the JSON alone

TEMPORAL: list[Any] = [{}, {"ser_json_temporal": "seconds"}, {"ser_json_temporal": "milliseconds"}]
SETTINGS: list[dict[str, Any]] = [
    *(
        {"ser_json_bytes": ser, "val_json_bytes": val}
        for ser in ("utf8", "base64", "hex")
        for val in ("utf8", "base64", "hex")
    ),
    *({"ser_json_bytes": each} for each in ("base64", "hex")),
    *({"val_json_bytes": each} for each in ("base64", "hex")),
    *TEMPORAL,
    {"ser_json_timedelta": "float"},
    {"ser_json_inf_nan": "null"},
    {"serialize_by_alias": False},
    {"use_enum_values": True},
    {"validate_default": True},
    {"validate_by_name": True, "validate_by_alias": False},
    {"polymorphic_serialization": True},
    {"strict": True},
]


class Everything(TypedDict):
    data: bytes
    at: datetime
    day: date
    clock: time_of_day
    took: timedelta


EVERYTHING: Everything = {
    "data": b"hello",
    "at": MOMENT,
    "day": date(1970, 3, 1),
    "clock": time_of_day(1, 2, 3, 4),
    "took": timedelta(days=-3, microseconds=7),
}


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_settings_of_a_types_json_change_nothing_at_any_depth(settings: dict[str, Any]) -> None:
    config = ConfigDict(**settings)

    class Inner(BaseModel):
        model_config = config
        value: Everything
        many: dict[str, list[bytes | None]]

    class Outer(BaseModel):
        inner: Inner
        data: bytes = b"plain"

    class Around(BaseModel):
        model_config = config
        inner: Outer
        took: timedelta = timedelta(seconds=5)

    @pydantic_dataclass(config=config)
    class Data:
        value: Everything
        took: timedelta

    @with_config(config)
    class Row(TypedDict):
        value: Everything
        took: timedelta

    class Box(BaseModel, Generic[T]):
        model_config = config
        value: T

    class Root(RootModel[Everything]):
        model_config = config

    inner = Inner(value=EVERYTHING, many={"a": [b"x", None]})
    payloads: list[tuple[Any, Any]] = [
        (Inner, inner),
        (Outer, Outer(inner=inner)),
        (list[Around], [Around(inner=Outer(inner=inner))]),
        (Data, Data(value=EVERYTHING, took=timedelta(seconds=5))),
        (Row, {"value": EVERYTHING, "took": timedelta(seconds=5)}),
        (Box[bytes], Box[bytes](value=b"hello")),
        (Box[timedelta], Box[timedelta](value=timedelta(seconds=5))),
        (Root, Root(EVERYTHING)),
    ]
    for tp, value in payloads:
        made = typed(tp)
        assert made.decode(made.encode(value)) == value


def test_bytes_that_are_no_text_arrive_where_the_type_reads_another_form() -> None:
    class Blob(BaseModel):
        model_config = ConfigDict(val_json_bytes="base64")
        data: bytes

    made = typed(Blob)
    assert made.decode(made.encode(Blob(data=b"\xff\x00"))) == Blob(data=b"\xff\x00")
    with pytest.raises(InvalidPayload, match="does not fit: it cannot be written as JSON"):
        typed(bytes).encode(b"\xff\x00")


# -- what arrives


@pytest.mark.parametrize(("tp", "value"), ARRIVES, ids=range(len(ARRIVES)))
def test_what_is_read_back_is_what_was_sent(tp: Any, value: Any) -> None:
    made, value = typed(tp), TypeAdapter(tp).validate_python(value)
    for _ in range(2):
        read = made.decode(made.encode(value))
        if not isinstance(value, set | frozenset | datetime | OrderedDict | Counted):
            assert re.sub(" at 0x.*?>", ">", repr(read)) == re.sub(" at 0x.*?>", ">", repr(value))
        if tp not in IDENTITY:
            assert read == (value.replace(fold=0, tzinfo=read.tzinfo) if isinstance(value, datetime) else value)


@pytest.mark.parametrize(("tp", "value", "path"), REFUSED, ids=range(len(REFUSED)))
def test_what_would_be_read_back_as_another_value_is_refused_by_field(tp: Any, value: Any, path: str) -> None:
    made = typed(tp)
    for _ in range(2):
        with pytest.raises(InvalidPayload) as caught:
            made.encode(value)
        assert str(caught.value).startswith(f"order.placed: the payload does not fit: {path}")
        assert not path or "read" in str(caught.value) or "Field required" in str(caught.value)
        assert caught.value.__context__ is None


def test_a_private_attribute_that_each_reading_makes_anew_is_not_compared() -> None:
    made = typed(list[Private])
    sent = [Private(a=1), Private(a=2)]
    assert [each.a for each in made.decode(made.encode(sent))] == [1, 2]
    sent[1]._note = "changed"  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(InvalidPayload, match=r"does not fit: 1\._note: its JSON would be read back as another value"):
        made.encode(sent)


def test_an_int_as_the_default_of_another_number_arrives_as_that() -> None:
    made = typed(Loose)
    assert made.decode(made.encode(Loose(tags=("a",)))) == Loose(tags=("a",))


def test_a_comparison_that_fails_refuses_the_payload_without_its_values() -> None:
    class Broken(Custom):
        def __eq__(self, other: object) -> bool:
            raise ValueError("kanarie")

        __hash__ = None  # pyright: ignore[reportAssignmentType]

    class Closed(Custom):
        def __reduce_ex__(self, protocol: Any) -> Any:
            raise TypeError("kanarie")

    for tp, why in (
        (Broken, r"it cannot be compared .* \(ValueError\)"),
        (Closed, "a Closed has no equality, and cannot"),
    ):
        with pytest.raises(InvalidPayload, match=why) as caught:
            typed(list[tp]).encode([tp(1)])
        assert "kanarie" not in repr((caught.value, caught.value.__context__))


def test_types_that_cannot_differ_are_told_by_their_schema() -> None:
    plain: list[Any] = [
        int,
        str | None,
        list[float],
        list[list[UUID | None]],
        bool,
        Annotated[str, Field(max_length=3)],
    ]
    others: list[Any] = [bytes, datetime, Dog, int | str, dict[str, int], tuple[int, ...], Any, SecretStr, Size]
    others += [TWICE, Annotated[int, PlainSerializer(str)], list[Annotated[str, BeforeValidator(str.strip)]]]
    assert [may_differ(typed(tp).schema) for tp in plain] == [False] * len(plain)
    assert [may_differ(typed(tp).schema) for tp in others] == [True] * len(others)


def test_what_is_sealed_is_compared_too() -> None:
    ring = Keyring(Keyring.generate())
    for seal in (ring, ring.fields("value")):
        made: PayloadType[Any] = PayloadType(Box[Dog], "order.placed", 1 << 20, seal)
        assert made.decode(made.open(made.encode(Box[Dog](value=Dog(name="x"))))) == Box[Dog](value=Dog(name="x"))
        with pytest.raises(InvalidPayload, match="value: its JSON would be read back as Dog, not as Puppy"):
            made.encode(Box[Dog](value=Puppy(name="x")))


def test_an_iterable_is_refused_at_the_declaration() -> None:
    class Lazy(BaseModel):
        items: Iterable[int]

    for tp in (Iterable[int], Lazy, dict[str, Lazy | None]):
        with pytest.raises(DeclarationError, match="can be read only once, while it is validated: name a list"):
            typed(tp)


def test_the_json_of_other_producers_is_read_as_before() -> None:
    class Reads(BaseModel):
        model_config = ConfigDict(ser_json_bytes="base64", ser_json_temporal="milliseconds")
        at: datetime
        took: timedelta
        data: bytes
        pet: Dog | Cat
        deep: int = Field(0, validation_alias=AliasPath("x", 0))
        euros: TWICE

    sent = {"at": 1772368205123, "took": 1.5, "data": "aGVsbG8=", "pet": {"name": "x"}, "x": [3], "euros": 5}
    read = typed(Reads).decode(json.dumps(sent))
    assert read == Reads.model_validate_json(json.dumps(sent))
    assert (read.deep, read.euros, read.data) == (3, 500, b"aGVsbG8=")


def test_a_refusal_of_what_was_read_back_says_so() -> None:
    class Order(BaseModel):
        card: str = Field(validation_alias=AliasPath("old", "card"))

    with pytest.raises(InvalidPayload, match=r"old\.card: Field required, when its JSON is read back: change the type"):
        typed(Order).encode({"old": {"card": "x"}})
    with pytest.raises(InvalidPayload, match=r"card: Field required$"):
        typed(Order).encode({})
