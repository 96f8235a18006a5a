"""Payloads round-trip through JSON, or are refused without showing a value."""

from __future__ import annotations

import json
import math
import re
import sys
import typing
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, NamedTuple, Optional, cast
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    AnyUrl,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Json,
    RootModel,
    Secret,
    SecretBytes,
    SecretStr,
    Tag,
    computed_field,
    field_serializer,
    field_validator,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from oxherd.errors import DeclarationError, InvalidPayload, PayloadTooLarge
from oxherd.payload.encryption import MARK
from oxherd.payload.payload_type import PayloadType

CANARY = "kanarie-7391"


def typed(tp: Any, limit: int = 1 << 20) -> PayloadType[Any]:
    return PayloadType(tp, "order.placed", limit)


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(InvalidPayload) as caught:
        action()
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return str(caught.value)


def refusal_if_any(action: Callable[[], object]) -> str:
    try:
        action()
    except InvalidPayload as error:
        return repr((error, error.__cause__, error.__context__))
    return ""


class Colour(Enum):
    RED = "red"
    BLUE = 2


class Address(BaseModel):
    street: str
    door: SecretStr


class Order(BaseModel):
    order_id: int
    note: str = ""
    address: Address | None = None


@dataclass
class Plain:
    name: str
    secret: SecretStr
    more: list[SecretStr]


@pydantic_dataclass
class Checked:
    name: str
    secret: SecretBytes


class Row(TypedDict):
    name: str
    secret: SecretStr


class Camel(BaseModel):
    model_config = ConfigDict(alias_generator=lambda name: name.title(), validate_by_name=True)
    first: int


@pydantic_dataclass
class Data:
    inner: Camel
    number: int = Field(validation_alias="No")


class SecretDate(Secret[date]):
    pass


class Node(BaseModel):
    secret: SecretStr
    children: list[Node] = []


class TestRoundTrip:
    def test_an_instance_and_a_dict_that_fits_give_the_same_compact_json(self) -> None:
        order = typed(Order)
        expected = b'{"order_id":7,"note":"\xc3\xa9","address":null}'
        assert order.encode(Order(order_id=7, note="é")) == expected
        assert order.encode({"order_id": 7, "note": "é"}) == expected
        assert order.decode(expected) == Order(order_id=7, note="é")
        assert order.decode(expected.decode()) == Order(order_id=7, note="é")

    @pytest.mark.parametrize(
        ("tp", "value"),
        [
            (datetime, datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)),
            (date, date(2026, 1, 2)),
            (timedelta, timedelta(days=1, microseconds=3)),
            (Decimal, Decimal("1234.50")),
            (UUID, UUID(int=5)),
            (Colour, Colour.BLUE),
            (bytes, b"abc"),
            (set[int], {1, 2, 3}),
            (frozenset[str], frozenset({"a"})),
            (tuple[int, str], (1, "a")),
            (dict[int, float], {1: 0.5}),
            (dict[UUID, date], {UUID(int=1): date(2026, 1, 1)}),
            (list[Optional[int]], [1, None]),  # noqa: UP045  # users write it so
            (int | str | None, None),
            (AnyUrl, AnyUrl("https://example.com/a?b=c")),
            (Annotated[int, Field(gt=0)], 5),
            (Any, {"a": [1, "b", None, True]}),
        ],
    )
    def test_every_kind_of_value_arrives_as_it_was(self, tp: Any, value: object) -> None:
        payload = typed(tp)
        assert payload.decode(payload.encode(value)) == value

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
            # A key that marks what is sealed is refused.
            lambda inner: st.lists(inner) | st.dictionaries(st.text().filter(lambda key: key != MARK), inner),
        )
    )
    def test_any_json_value_arrives_as_it_was(self, value: Any) -> None:
        payload = typed(Any)
        raw = payload.encode(value)
        assert payload.decode(raw) == value
        assert json.loads(raw) == value

    def test_aliases_are_written_as_validation_reads_them(self) -> None:
        class Aliased(BaseModel):
            a: int = Field(alias="A")
            b: int = Field(validation_alias="B")
            c: int = Field(serialization_alias="C")
            d: int = Field(validation_alias=AliasChoices("D1", AliasPath("x", 0), "D2"), serialization_alias="D2")
            e: int = Field(validation_alias=AliasChoices(AliasPath("x", 0), "E"))

        payload = typed(Aliased)
        raw = payload.encode({"A": 1, "B": 2, "c": 3, "D1": 4, "E": 5})
        assert json.loads(raw) == {"A": 1, "B": 2, "c": 3, "D2": 4, "E": 5}
        assert payload.encode(payload.decode(raw)) == raw
        assert payload.field_names >= {"a", "A", "b", "B", "c", "C", "D1", "D2", "x", "E"}

    def test_aliases_that_may_not_be_validated_are_not_written(self) -> None:
        class Named(BaseModel):
            model_config = ConfigDict(validate_by_alias=False, validate_by_name=True)
            a: int = Field(alias="A")

        assert typed(list[Named]).encode([{"a": 1}]) == b'[{"a":1}]'

    def test_aliases_of_dataclasses_typed_dicts_and_generators_of_aliases_round_trip(self) -> None:
        payload = typed(Data)
        assert payload.encode({"inner": {"first": 1}, "No": 2}) == b'{"inner":{"First":1},"No":2}'

    def test_computed_fields_stay_out_and_forbidden_extras_stay_forbidden(self) -> None:
        class Area(BaseModel):
            model_config = ConfigDict(extra="forbid")
            side: int

            @computed_field
            @property
            def area(self) -> int:
                return self.side**2

        payload = typed(Area)
        assert payload.encode(Area(side=2)) == b'{"side":2}'

    def test_json_fields_and_custom_serializers_round_trip(self) -> None:
        class Custom(BaseModel):
            inner: Json[list[int]]
            tags: list[str]

            @field_serializer("tags")
            def write(self, tags: list[str]) -> str:
                return ",".join(tags)

            @field_validator("tags", mode="before")
            @classmethod
            def read(cls, tags: Any) -> Any:
                return tags.split(",") if isinstance(tags, str) else tags

        payload = typed(Custom)
        raw = payload.encode({"inner": "[1,2]", "tags": ["a", "b"]})
        assert json.loads(raw) == {"inner": "[1,2]", "tags": "a,b"}
        assert payload.decode(raw) == Custom(inner=cast("Any", "[1,2]"), tags=["a", "b"])

    def test_types_built_late_and_root_models_work(self) -> None:
        class Late(BaseModel):
            model_config = ConfigDict(defer_build=True)
            secret: SecretStr

        assert typed(Late).encode({"secret": CANARY}) == f'{{"secret":"{CANARY}"}}'.encode()
        assert typed(RootModel[list[SecretStr]]).encode([CANARY]) == f'["{CANARY}"]'.encode()


class TestSecrets:
    @pytest.mark.parametrize(
        ("tp", "value"),
        [
            (SecretStr, SecretStr(CANARY)),
            (SecretBytes, SecretBytes(CANARY.encode())),
            (Secret[int], Secret[int](739_173)),
            (Secret[Decimal], Secret[Decimal](Decimal("1.50"))),
            (SecretDate, SecretDate(date(2026, 1, 2))),
            (SecretStr | None, SecretStr(CANARY)),
            (SecretStr | None, None),
            (int | SecretStr, SecretStr(CANARY)),
            (SecretStr | int, 5),
            (SecretStr | Address, Address(street="s", door=SecretStr(CANARY))),
            (list[SecretStr], [SecretStr(CANARY), SecretStr("")]),
            (set[SecretStr], {SecretStr(CANARY)}),
            (tuple[SecretStr, int], (SecretStr(CANARY), 1)),
            (dict[str, SecretBytes], {"a": SecretBytes(b"x")}),
            (dict[str, list[Address]], {"a": [Address(street="s", door=SecretStr(CANARY))]}),
            (dict[SecretStr, int], {SecretStr(CANARY): 1}),
            (Order, Order(order_id=1, address=Address(street="s", door=SecretStr(CANARY)))),
            (Plain, Plain("n", SecretStr(CANARY), [SecretStr(CANARY)])),
            (Checked, Checked("n", SecretBytes(b"\xc3\xa9"))),
            (Row, {"name": "n", "secret": SecretStr(CANARY)}),
            (Node, Node(secret=SecretStr("a"), children=[Node(secret=SecretStr(CANARY))])),
            (Annotated[SecretStr, Field(min_length=3)], SecretStr(CANARY)),
            (Secret[list[SecretStr]], Secret[list[SecretStr]]([SecretStr(CANARY)])),
            (Address, Address(street="*" * 10, door=SecretStr("*" * 10))),
        ],
    )
    def test_a_secret_reaches_the_handler_intact(self, tp: Any, value: object) -> None:
        payload = typed(tp)
        assert payload.decode(payload.encode(value)) == value

    def test_a_secret_in_a_tagged_union_reaches_the_handler_intact(self) -> None:
        class Card(BaseModel):
            kind: Literal["card"]
            number: SecretStr

        class Iban(BaseModel):
            kind: Literal["iban"]
            number: SecretStr

        by_field = typed(Annotated[Card | Iban, Field(discriminator="kind")])
        value = Iban(kind="iban", number=SecretStr(CANARY))
        assert by_field.decode(by_field.encode(value)) == value

        def tag(value: Any) -> str:
            return cast("dict[str, str]", value)["kind"] if isinstance(value, dict) else value.kind

        by_function = typed(
            list[Annotated[Annotated[Card, Tag("card")] | Annotated[Iban, Tag("iban")], Discriminator(tag)]]
        )
        assert by_function.decode(by_function.encode([value])) == [value]

    def test_a_serializer_of_the_users_own_is_kept(self) -> None:
        class Turned(BaseModel):
            secret: SecretStr

            @field_serializer("secret")
            def write(self, secret: SecretStr) -> str:
                return secret.get_secret_value()[::-1]

            @field_validator("secret", mode="before")
            @classmethod
            def read(cls, secret: str | SecretStr) -> str | SecretStr:
                return secret[::-1] if isinstance(secret, str) else secret

        assert typed(Turned).encode({"secret": "cba"}) == b'{"secret":"cba"}'

    @given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
    def test_any_text_is_a_secret_that_arrives(self, text: str) -> None:
        payload = typed(list[Address])
        sent = [Address(street=text, door=SecretStr(text))]
        assert payload.decode(payload.encode(sent)) == sent

    def test_secret_bytes_that_are_no_text_are_refused_by_field(self) -> None:
        why = refusal(lambda: typed(Checked).encode(Checked("n", SecretBytes(b"\xff\xfe"))))
        assert why.startswith("order.placed: the payload does not fit: secret: it cannot be written as JSON")

    @pytest.mark.parametrize(
        ("tp", "value", "path"),
        [
            (Any, SecretStr(CANARY), ""),
            (dict[str, Any], {"a": [SecretStr(CANARY)]}, "*.0: "),
            (Any, {"a": Address(street="s", door=SecretStr(CANARY))}, "*.*: "),
        ],
    )
    def test_a_secret_where_the_type_names_none_is_refused_instead_of_lost(
        self, tp: Any, value: object, path: str
    ) -> None:
        why = refusal(lambda: typed(tp).encode(value))
        assert f"does not fit: {path}a secret stands" in why

    def test_a_secret_in_a_named_tuple_is_refused_or_arrives(self) -> None:
        class Pair(NamedTuple):
            name: str
            secret: SecretStr

        payload = typed(Pair)
        value = Pair("n", SecretStr(CANARY))
        try:
            raw = payload.encode(value)
        except InvalidPayload:
            return
        assert payload.decode(raw) == value


class TestRefusal:
    def test_a_message_names_the_event_and_the_field(self) -> None:
        expected = "order.placed: the payload does not fit: order_id: Input should be a valid integer"
        assert refusal(lambda: typed(Order).encode({"order_id": []})) == expected
        assert refusal(lambda: typed(Order).decode(b'{"order_id":[]}')) == expected

    def test_at_most_five_fields_are_named(self) -> None:
        why = refusal(lambda: typed(list[int]).decode(b'["a","b","c","d","e","f","g"]'))
        assert why.count("Input should be a valid integer") == 5
        assert why.endswith("; and 2 more")

    def test_json_that_does_not_parse_is_refused_by_line_and_column(self) -> None:
        why = refusal(lambda: typed(Order).decode('{\n "order_id": kanarie}'))
        assert why == "order.placed: the payload does not fit: it is not valid JSON (line 2, column 14)"

    @pytest.mark.parametrize("raw", [b"", b"\xff\xfe", b"{", "\ud800", b'"\\ud800"', b"[" * 5000])
    def test_bytes_that_are_no_json_are_refused(self, raw: bytes | str) -> None:
        refusal(lambda: typed(list[str]).decode(raw))

    @pytest.mark.parametrize(
        ("raw", "why"),
        [
            (b"[" * 210 + b"]" * 210, "its JSON is nested more than 200 levels deep"),
            (b"1" * 4301, "its JSON has an integer of more than 4,300 digits"),
            (b"\xef\xbb\xbf1", "it is not valid JSON (line 1, column 1)"),
        ],
    )
    def test_valid_json_that_is_not_read_is_refused_with_the_limit(self, raw: bytes, why: str) -> None:
        payload = typed(Any)
        for action in (lambda: payload.decode(raw), lambda: payload.decode(payload.open(raw))):
            assert refusal(action) == f"order.placed: the payload does not fit: {why}"

    @pytest.mark.parametrize(
        ("stored", "read"),
        [
            (rb"cut \ud83d", "cut \ufffd"),
            (rb"\uDE00 cut", "\ufffd cut"),
            (rb"\ud83d\ud83d\ude00\ude00", "\ufffd😀\ufffd"),
            (rb"\ud83d\n\ude00", "\ufffd\n\ufffd"),
            (rb"\ud83d\u0041", "\ufffdA"),
            (rb"\ud83d\ude00", "😀"),
            (rb"\\ud83d", "\\ud83d"),
            (rb"\\\ud83d", "\\\ufffd"),
            (b'\xf0\x9f\x98\x80 \\u00e9 \\"', '😀 é "'),
        ],
    )
    def test_a_lone_surrogate_is_read_as_the_replacement_character(self, stored: bytes, read: str) -> None:
        for tp, raw, value in (
            (str, b'"%s"' % stored, read),
            (Any, b'{"%s":["%s"]}' % (stored, stored), {read: [read]}),
        ):
            payload = typed(tp)
            assert payload.decode(payload.open(raw)) == value

    @given(st.text(st.characters()))
    def test_any_text_that_javascript_writes_is_read(self, text: str) -> None:
        raw, payload = json.dumps(text).encode(), typed(str)
        assert payload.decode(payload.open(raw)) == re.sub("[\ud800-\udfff]", "\ufffd", json.loads(raw))

    @pytest.mark.parametrize(
        ("tp", "raw", "value"),
        [
            (dict[str, int], b'{"a":1,"a":2}', {"a": 2}),
            (dict[str, Any], b'{"__proto__":{"a":1},"constructor":null}', {"__proto__": {"a": 1}, "constructor": None}),
            (int, b"1e3", 1000),
            (int, b"9007199254740993", 2**53 + 1),
            (float, b"1e+21", 1e21),
            (float, b"-0", 0.0),
            (float, b"1e400", math.inf),
            (Any, b' {"a" : [ 1 ] }\n', {"a": [1]}),
            (str, rb'"\u0000\u2028"', "\x00\u2028"),
        ],
    )
    def test_odd_json_of_other_producers_is_read(self, tp: Any, raw: bytes, value: object) -> None:
        payload = typed(tp)
        assert payload.decode(payload.open(raw)) == value

    def test_an_instance_broken_after_its_construction_is_refused_by_field(self) -> None:
        changed = Order(order_id=1)
        changed.order_id = cast("Any", CANARY)
        for broken in (changed, Order.model_construct(order_id=CANARY), Order.model_construct()):
            why = refusal(lambda broken=broken: typed(Order).encode(broken))
            assert "order_id: " in why
            assert CANARY not in why

    def test_a_value_of_another_type_assigned_after_the_construction_is_refused_by_field(self) -> None:
        changed = Address(street="s", door=SecretStr("x"))
        changed.door = cast("Any", CANARY)
        why = refusal(lambda: typed(Address).encode(changed))
        assert "does not fit: door: its JSON would be read back as SecretStr, not as str" in why

    @pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
    def test_numbers_that_are_not_json_are_refused_by_field(self, number: float) -> None:
        class Reading(BaseModel):
            values: list[float | None]

        for tp, value, path in ((Reading, {"values": [1, number]}, "values.1: "), (Any, number, "")):
            why = refusal(lambda tp=tp, value=value: typed(tp).encode(value))
            assert f"does not fit: {path}NaN and Infinity are not JSON" in why

    def test_the_words_nan_and_infinity_are_text_like_any_other(self) -> None:
        assert typed(list[str]).encode(["NaN", "Infinity"]) == b'["NaN","Infinity"]'

    def test_a_number_that_its_model_writes_as_text_is_kept(self) -> None:
        class Loose(BaseModel):
            model_config = ConfigDict(ser_json_inf_nan="strings")
            value: float

        assert typed(Loose).encode({"value": math.inf}) == b'{"value":"Infinity"}'

    def test_a_reference_cycle_and_an_unknown_object_are_refused(self) -> None:
        circle: list[Any] = []
        circle.append(circle)
        refusal(lambda: typed(Any).encode(circle))
        assert "cannot be written as JSON" in refusal(lambda: typed(Any).encode(object()))
        refusal(lambda: typed(str).encode("\ud800"))

    def test_a_payload_over_the_limit_is_too_large_and_says_by_how_much(self) -> None:
        payload = typed(str, limit=10)
        assert len(payload.encode("12345678")) == 10
        with pytest.raises(PayloadTooLarge, match=r"order\.placed: the payload is 14 bytes .* limit is 10 bytes") as e:
            payload.encode(CANARY)
        assert CANARY not in str(e.value)
        assert e.value.__context__ is None

    def test_a_type_that_cannot_be_validated_is_refused_at_declaration(self) -> None:
        class Thing:
            pass

        with pytest.raises(DeclarationError, match=r"^order\.placed: Thing cannot be a payload's type"):
            typed(Thing)
        with pytest.raises(DeclarationError, match="NoSuchName is not defined"):
            typed(list["NoSuchName"])  # noqa: F821  # pyright: ignore[reportUndefinedVariable]

    @pytest.mark.skipif(sys.version_info >= (3, 12), reason="pydantic reads typing.TypedDict")
    def test_the_typed_dict_of_an_older_python_says_which_one_to_import(self) -> None:
        class Order(typing.TypedDict):
            number: int

        with pytest.raises(
            DeclarationError, match=r"Order cannot be .*: before Python 3\.12, import TypedDict from typ"
        ):
            typed(Order)


def _raising(error: Exception) -> Any:
    def check(value: Any) -> Any:
        raise error

    return Annotated[str, AfterValidator(check)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["a"] = "a"


class Dog(BaseModel):
    kind: Literal["dog"]


class Cat(BaseModel):
    kind: Literal["cat"]


class TestNothingIsShown:
    @pytest.mark.parametrize(
        "tp",
        [
            *(int, float, bool, bytes, UUID, AnyUrl, datetime, date, timedelta, Decimal, Colour, Literal["a"]),
            *(list[int], dict[str, int], dict[int, int], Order, Strict, Address, Row, Plain, Json[int], set[int]),
            Annotated[Dog | Cat, Field(discriminator="kind")],
            Annotated[str, Field(pattern="^x$")],
            Annotated[str, Field(max_length=3)],
            int | list[int] | Order,
            _raising(ValueError(CANARY)),
            _raising(AssertionError(CANARY)),
            _raising(RuntimeError(CANARY)),
            _raising(KeyError(CANARY)),
            _raising(PydanticCustomError("int_type", CANARY)),  # pyright: ignore[reportArgumentType]  # not a literal
            _raising(PydanticCustomError(CANARY, "x")),  # pyright: ignore[reportArgumentType]  # not a literal
        ],
    )
    @pytest.mark.parametrize(
        "value",
        [
            CANARY,
            {CANARY: CANARY},
            {"kind": CANARY},
            [CANARY],
            {"order_id": CANARY, CANARY: 1},
            {"street": 1, "door": {CANARY: 1}},
            {"address": {"street": CANARY}},
            {"739173739173": CANARY},
            f"https://{CANARY}:{CANARY}@[",
            f"2026-01-01T{CANARY}",
        ],
    )
    def test_no_refusal_shows_a_value(self, tp: Any, value: Any) -> None:
        payload = typed(tp)
        for action in (lambda: payload.encode(value), lambda: payload.decode(json.dumps(value))):
            why = refusal_if_any(action)
            assert CANARY not in why
            assert "739173" not in why

    @settings(max_examples=200)
    @given(
        st.recursive(
            st.just(CANARY) | st.integers(min_value=10**9),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["order_id", "address", "street", CANARY]), inner, max_size=3)
            ),
        )
    )
    def test_no_refusal_shows_any_part_of_any_payload(self, value: Any) -> None:
        for tp in (Order, list[Order], dict[int, Order] | Address, dict[str, list[Node]]):
            payload = typed(tp)
            why = refusal_if_any(lambda payload=payload: payload.decode(json.dumps(value)))
            assert CANARY not in why
            assert not re.search(r"\d{6}", why)

    def test_a_long_path_is_named_by_its_two_ends(self) -> None:
        value: Any = "wrong"
        for _ in range(60):
            value = {"secret": CANARY, "children": [value]}
        why = refusal(lambda: typed(Node).decode(json.dumps(value)))
        assert " children.0.children.0.children.0.children.0 ... children.0.children.0: " in why
        assert CANARY not in why
