"""A strict Keyring: a sealed field reaches the handler from its seal alone, whatever else its type reads it from."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import InitVar, dataclass
from typing import Annotated, Any, Literal, NotRequired

import pytest
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasGenerator,
    AliasPath,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    RootModel,
    create_model,
    model_validator,
    with_config,
)
from pydantic.alias_generators import to_camel
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import core_schema
from typing_extensions import TypedDict

from oxherd import DeclarationError, InvalidPayload, Keyring, SealError
from oxherd.payload.payload_type import PayloadType

KEY = Keyring.generate()
RING, STRICT = Keyring({"a": KEY}), Keyring({"a": KEY}, strict=True)
MARK = "oxherd:sealed"
PLAIN = "PLAIN"
MANY = AliasChoices("cardNo", "card_no", AliasPath("old", "cards", 0))


def payload_type(tp: Any, seal: Any, event: str = "order.placed", prefix: str = "bull") -> PayloadType[Any]:
    return PayloadType(tp, event, 1 << 20, seal, prefix)


class Simple(BaseModel):
    order: int = 1
    card: str = "default"


class ByAlias(BaseModel):
    card: str = Field(default="default", alias="cardNo")


class Populated(ByAlias):
    model_config = ConfigDict(populate_by_name=True)


class ByName(ByAlias):
    model_config = ConfigDict(validate_by_name=True)


class NameOnly(ByAlias):
    model_config = ConfigDict(validate_by_name=True, validate_by_alias=False)


class Choices(BaseModel):
    card: str = Field(default="default", validation_alias=MANY)


class ChoicesByName(Choices):
    model_config = ConfigDict(validate_by_name=True)


class Renamed(BaseModel):
    card: str = Field(default="default", validation_alias=MANY, serialization_alias="card_no")


class PathOrName(BaseModel):
    model_config = ConfigDict(validate_by_name=True)
    card: str = Field(default="default", validation_alias=AliasPath("old", 0))


class Generated(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True)
    card_number: str = "default"


class GeneratedChoices(BaseModel):
    model_config = ConfigDict(
        alias_generator=AliasGenerator(validation_alias=lambda name: AliasChoices(name.upper(), f"x_{name}"))
    )
    card: str = "default"


class Outer(BaseModel):
    model_config = ConfigDict(validate_by_name=True)
    inner: Populated = Field(default=Populated(), alias="Inner")


class Lines(BaseModel):
    lines: list[ChoicesByName] = [ChoicesByName(), ChoicesByName()]


class Deep(BaseModel):
    by_key: dict[str, Populated | None] = {"a": Populated()}


class Maybe(BaseModel):
    inner: Populated | None = Field(default=None, validation_alias=AliasChoices("inner", "Inner"))


@dataclass
class Plain:
    card: Annotated[str, Field(validation_alias=MANY)] = "default"


@pydantic_dataclass(config=ConfigDict(validate_by_name=True))
class Checked:
    card: str = Field(default="default", alias="cardNo")


@with_config(ConfigDict(populate_by_name=True))
class Row(TypedDict):
    card: NotRequired[Annotated[str, Field(alias="cardNo")]]


class Card(BaseModel):
    model_config = ConfigDict(validate_by_name=True)
    kind: Literal["card"] = "card"
    number: str = Field(default="default", alias="cardNo")


class Iban(BaseModel):
    kind: Literal["iban"] = "iban"
    iban: str = Field(default="default", validation_alias=AliasChoices("iban", "IBAN"))


class Paid(BaseModel):
    by: Annotated[Card | Iban, Field(discriminator="kind")] = Card()


# A type, a payload, the sealed fields, and what an attacker puts into the object that has them, at a path.
KINDS: list[tuple[Any, Any, tuple[str, ...], tuple[Any, ...], list[dict[str, Any]]]] = [
    (Simple, {}, ("card",), (), [{"card": PLAIN}]),
    (ByAlias, {}, ("card",), (), [{"cardNo": PLAIN}]),
    (Populated, {}, ("card",), (), [{"card": PLAIN}, {"cardNo": PLAIN}]),
    (ByName, {}, ("card",), (), [{"card": PLAIN}, {"cardNo": PLAIN}]),
    (NameOnly, {}, ("card",), (), [{"card": PLAIN}]),
    (Choices, {}, ("card",), (), [{"cardNo": PLAIN}, {"card_no": PLAIN}, {"old": {"cards": [PLAIN]}}]),
    (ChoicesByName, {}, ("card",), (), [{"card": PLAIN}, {"card_no": PLAIN}, {"old": {"cards": [PLAIN]}}]),
    (Renamed, {}, ("card",), (), [{"cardNo": PLAIN}, {"card_no": PLAIN}, {"old": {"cards": [PLAIN]}}]),
    (PathOrName, {}, ("card",), (), [{"old": [PLAIN]}, {"card": PLAIN}]),
    (Generated, {}, ("card_number",), (), [{"card_number": PLAIN}, {"cardNumber": PLAIN}]),
    (GeneratedChoices, {}, ("card",), (), [{"x_card": PLAIN}, {"CARD": PLAIN}]),
    (Outer, {}, ("inner.card",), ("Inner",), [{"card": PLAIN}, {"cardNo": PLAIN}]),
    (Outer, {}, ("inner.card",), (), [{"inner": {"card": PLAIN}}, {"Inner": {"cardNo": PLAIN}}, {"Inner": None}]),
    (Outer, {}, ("inner",), (), [{"inner": {"card": PLAIN}}, {"Inner": {"cardNo": PLAIN}}]),
    (Lines, {}, ("lines.card",), ("lines", 1), [{"card": PLAIN}, {"card_no": PLAIN}, {"old": {"cards": [PLAIN]}}]),
    (Deep, {}, ("by_key.card",), ("by_key", "a"), [{"card": PLAIN}, {"cardNo": PLAIN}]),
    (
        Maybe,
        {"inner": {}},
        ("inner.card",),
        (),
        [{"Inner": {"card": PLAIN}}, {"inner": None}, {"inner": {}}, {"Inner": None}],
    ),
    (Maybe, {}, ("inner.card",), (), [{"inner": {"card": PLAIN}}, {"inner": None}]),
    (Plain, {}, ("card",), (), [{"cardNo": PLAIN}, {"card_no": PLAIN}, {"old": {"cards": [PLAIN]}}]),
    (Checked, {}, ("card",), (), [{"card": PLAIN}, {"cardNo": PLAIN}]),
    (Row, {"card": "x"}, ("card",), (), [{"card": PLAIN}, {"cardNo": PLAIN}]),
    (
        Card | Iban,
        {"kind": "card"},
        ("number", "iban"),
        (),
        [{"number": PLAIN}, {"cardNo": PLAIN}, {"kind": "iban", "IBAN": PLAIN}, {"kind": "iban", "iban": PLAIN}],
    ),
    (
        Paid,
        {"by": {"kind": "iban"}},
        ("by.number", "by.iban"),
        ("by",),
        [{"IBAN": PLAIN}, {"kind": "card", "number": PLAIN}, {"kind": "card", "cardNo": PLAIN}],
    ),
    (RootModel[list[Populated]], [{}], ("card",), (0,), [{"card": PLAIN}, {"cardNo": PLAIN}]),
    (dict[str, Any], {"a": {"card": "x"}}, ("a.card",), ("a",), [{"card": PLAIN}]),
    (Any, {"a": {"card": "x"}}, ("a.card",), ("a",), [{"card": PLAIN}]),
]


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        value = value[part]
    return value


@pytest.mark.parametrize(("tp", "value", "paths", "where", "attacks"), KINDS, ids=range(len(KINDS)))
def test_no_input_name_of_a_sealed_field_takes_a_plain_value(
    tp: Any, value: Any, paths: tuple[str, ...], where: tuple[Any, ...], attacks: list[dict[str, Any]]
) -> None:
    made, plain = payload_type(tp, STRICT.fields(*paths)), payload_type(tp, None)
    raw = made.encode(value)
    assert made.decode(made.open(raw)) == plain.decode(plain.encode(value))
    stored = json.loads(raw)
    for attack in attacks:
        beside, instead = deepcopy(stored), deepcopy(stored)
        at(beside, where).update(attack)
        sealed = [key for key, part in at(instead, where).items() if isinstance(part, dict) or key in paths]
        for key in sealed:
            del at(instead, where)[key]
        missing = deepcopy(instead)
        at(instead, where).update(attack)
        for changed in (beside, instead, missing):
            with pytest.raises(SealError) as caught:
                made.decode(made.open(json.dumps(changed).encode()))
            assert PLAIN not in str(caught.value)


def test_a_type_that_reads_a_sealed_field_from_another_fields_key_is_refused() -> None:
    class Shared(BaseModel):
        raw: list[str] = []
        card: str = Field(default="default", validation_alias=AliasChoices("card", AliasPath("raw", 0)))

    class PathOnly(BaseModel):
        card: str = Field(default="default", validation_alias=AliasPath("raw", 0))

    with pytest.raises(
        DeclarationError, match="seal: 'card' is read from 'raw' too, which the field 'raw' has: seal that"
    ):
        payload_type(Shared, STRICT.fields("card"))
    with pytest.raises(DeclarationError, match="seal: 'card' is read from a path only, and cannot be sealed"):
        payload_type(PathOnly, STRICT.fields("card"))
    payload_type(Shared, STRICT.fields("card", "raw"))
    payload_type(Shared, RING.fields("card"))


def test_a_validator_that_may_fill_a_sealed_field_from_elsewhere_is_refused() -> None:
    class Legacy(BaseModel):
        card: str = "default"

        @model_validator(mode="before")
        @classmethod
        def rename(cls, value: Any) -> Any:
            return value

    class Around(BaseModel):
        inner: Legacy = Legacy()

    class Leaf(BaseModel):
        card: Annotated[str, BeforeValidator(str.strip)] = "default"
        lines: Annotated[Sequence[Populated] | deque[Populated] | None, AfterValidator(lambda lines: lines)] = None

    for tp, paths in ((Legacy, "card"), (Around, "inner.card"), (list[Around], "inner.card")):
        with pytest.raises(DeclarationError, match="may fill its sealed fields from elsewhere"):
            payload_type(tp, STRICT.fields(paths))
        payload_type(tp, RING.fields(paths))
    payload_type(Around, STRICT.fields("inner"))
    made = payload_type(Leaf, STRICT.fields("card", "lines.card"))
    assert made.decode(made.open(made.encode({"lines": [{}]}))).lines == [Populated()]


def test_own_code_that_builds_an_object_from_what_it_reads_is_refused_as_a_validator_is() -> None:
    class OwnInit(BaseModel):
        card: str = "default"

        def __init__(self, **data: Any) -> None:
            super().__init__(card=data.get("other") or data["card"])

    @dataclass
    class FromInitVar:
        card: str = "default"
        other: InitVar[str | None] = None

        def __post_init__(self, other: str | None) -> None:
            self.card = other or self.card

    def build(value: Any) -> Simple:
        return value if isinstance(value, Simple) else Simple(card=value.get("other") or value["card"])

    class Own:
        @classmethod
        def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
            return core_schema.chain_schema(
                [core_schema.no_info_plain_validator_function(lambda value: value), handler.generate_schema(Simple)]
            )

    kinds: list[Any] = [OwnInit, FromInitVar, Annotated[Simple, PlainValidator(build)], Own]
    for tp in kinds:
        around = create_model("Around", inner=(tp, ...))
        for made, paths in ((tp, "card"), (around, "inner.card")):
            with pytest.raises(DeclarationError, match="may fill its sealed fields from elsewhere"):
                payload_type(made, STRICT.fields(paths))
            payload_type(made, RING.fields(paths))
        payload_type(around, STRICT.fields("inner"))


def test_a_sealed_field_that_only_extra_keys_have_cannot_be_left_out() -> None:
    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")
        order: int

    made = payload_type(Open, STRICT.fields("card"))
    stored = json.loads(made.encode({"order": 1, "card": "x"}))
    for changed in ({"order": 1}, {**stored, "card": PLAIN}):
        with pytest.raises(SealError, match="card is not sealed"):
            made.open(json.dumps(changed).encode())
    with pytest.raises(InvalidPayload, match="card: it is missing"):
        made.encode({"order": 1})


def test_a_strict_emit_refuses_a_payload_without_a_sealed_field() -> None:
    class Excluded(BaseModel):
        card: str = Field(default="x", exclude=True)

    payloads: list[tuple[Any, Any, str]] = [(Row, {}, "card"), (Excluded, {}, "card"), (Any, {"a": {}}, "a.card")]
    for tp, value, paths in payloads:
        with pytest.raises(
            InvalidPayload, match=r"card(No)?: it is missing, and a strict Keyring takes no payload without"
        ):
            payload_type(tp, STRICT.fields(paths)).encode(value)
        payload_type(tp, RING.fields(paths)).encode(value)


class Order(BaseModel):
    card: str = "4111"
    ship_to: str = "home"
    note: str = ""


@pytest.mark.parametrize("ring", [RING, STRICT])
def test_sealed_fields_of_two_payloads_cannot_be_combined(ring: Keyring) -> None:
    made = payload_type(Order, ring.fields("card", "ship_to"))
    one, other = (json.loads(made.encode(Order())) for _ in range(2))
    with pytest.raises(SealError, match="the payload has sealed fields of different payloads"):
        made.open(json.dumps({**one, "ship_to": other["ship_to"]}).encode())
    # Whole payloads can be replayed, and what is not sealed can be changed.
    replayed = made.decode(made.open(json.dumps({**one, "note": "changed"}).encode()))
    assert replayed == Order(note="changed")


def test_a_seal_opens_under_its_prefix_alone() -> None:
    for seal in (RING, RING.fields("card")):
        raw = payload_type(Order, seal).encode(Order())
        with pytest.raises(SealError, match="sealed for another event, prefix or field"):
            payload_type(Order, seal, prefix="staging").open(raw)


@pytest.mark.parametrize("key", ["oxherd\\u003asealed", "\\u006fxherd:sealed", "oxherd:seale\\u0064"])
def test_a_mark_that_is_written_with_escapes_is_a_mark(key: str) -> None:
    text = json.loads(payload_type(dict[str, Any], RING).encode({"a": 1}))[MARK]
    raw = f'{{"{key}":"{text}"}}'.encode()
    with pytest.raises(SealError, match="is declared without seal= here"):
        payload_type(dict[str, Any], None).open(raw)
    for ring in (RING, STRICT):
        assert payload_type(dict[str, Any], ring).open(raw) == b'{"a":1}'


@pytest.mark.parametrize("stray", ["!", " ", "\n", "=", "==", "A", "+", "/", ".", "é"])
def test_a_stray_character_in_a_seal_is_refused(stray: str) -> None:
    made = payload_type(Order, RING)
    text = json.loads(made.encode(Order()))[MARK]
    for at_index in (len("v1.a."), len(text) // 2, len(text)):
        changed = text[:at_index] + stray + text[at_index:]
        with pytest.raises(SealError):
            made.open(json.dumps({MARK: changed}).encode())


def test_unused_bits_of_a_seals_last_character_are_refused() -> None:
    made = payload_type(str, RING)
    text = next(t for t in (json.loads(made.encode("x" * n))[MARK] for n in range(3)) if len(t.rpartition(".")[2]) % 4)
    twin = text[:-1] + chr(ord(text[-1]) + 1)
    with pytest.raises(SealError):
        made.open(json.dumps({MARK: twin}).encode())
