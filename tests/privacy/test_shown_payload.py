"""What of a payload the log shows: masks and secrets hidden, the sanitiser's own word taken, doubt withheld."""

from __future__ import annotations

import json
import math
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, NamedTuple, cast
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    InstanceOf,
    PlainSerializer,
    PlainValidator,
    RootModel,
    Secret,
    SecretBytes,
    SecretStr,
    SerializeAsAny,
    computed_field,
    field_serializer,
    model_serializer,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypedDict

from oxherd.errors import DeclarationError
from oxherd.payload.payload_type import PayloadType
from oxherd.privacy.masks import Mask
from oxherd.privacy.shown_payload import Sanitizer

CANARY = "kanarie7391"
Hidden = Annotated[str, Mask()]
Email = Annotated[str, Mask("email")]


def sanitizer(tp: Any, function: Callable[[Any], Any] | None = None) -> Sanitizer[Any]:
    return Sanitizer(PayloadType(tp, "order.placed", 1 << 20), function)


def shown(tp: Any, value: Any, function: Callable[[Any], Any] | None = None) -> Any:
    """What the log shows of a payload that has come through the queue."""
    payload_type = PayloadType(tp, "order.placed", 1 << 20)
    outcome = Sanitizer(payload_type, function).show(payload_type.decode(payload_type.encode(value)))
    assert outcome.withheld is None
    assert outcome.json is not None
    assert json.loads(outcome.json) == outcome.value
    return outcome.value


class Order(BaseModel):
    order_id: int
    email: Email
    card: SecretStr


class Item(BaseModel):
    sku: Hidden
    count: int = 1


@dataclass
class Plain:
    name: Hidden
    count: int


@pydantic_dataclass
class Checked:
    email: Email
    count: int


class Row(TypedDict):
    name: Hidden
    count: int


class Tree(BaseModel):
    name: Hidden
    label: str = "leaf"
    children: list[Tree] = []


class Pair(NamedTuple):
    name: Hidden
    number: int


class Size(Enum):
    SMALL = "small"


ORDER = Order(order_id=7, email="alice@example.com", card=SecretStr(CANARY))


MASKED: list[tuple[Any, Any, Any]] = [
    (Hidden, CANARY, "***"),
    (SecretStr, CANARY, "***"),
    (SecretBytes, b"x", "***"),
    (Secret[int], 5, "***"),
    (Annotated[int, Mask()], 5, "***"),
    (Annotated[list[str], Mask()], [CANARY], "***"),
    (Annotated[Item, Mask()], {"sku": CANARY}, "***"),
    (tuple[Annotated[Item, Mask()], Item], ({"sku": "a"}, {"sku": "b"}), ["***", {"sku": "***", "count": 1}]),
    (Annotated[str, Mask(), Field(min_length=2)], CANARY, "***"),
    (Annotated[str, Field(min_length=2), Mask()], CANARY, "***"),
    (Annotated[str | int, Mask(), Field(gt="")], CANARY, "***"),
    (Annotated[str, Mask(), PlainSerializer(lambda text: text)], CANARY, "***"),
    (Annotated[str, PlainSerializer(lambda text: text), Mask()], CANARY, "***"),
    (Annotated[str, Mask(), PlainValidator(str)], CANARY, "***"),
    (Annotated[SecretStr, Field(min_length=2)], CANARY, "***"),
    (Annotated[SecretStr, Mask("email")], "a@b", "a***@***"),
    (list[Hidden], ["a", "b"], ["***", "***"]),
    (dict[str, Email], {"k": "a@b"}, {"k": "a***@***"}),
    (dict[Hidden, int], {CANARY: 1}, {"***": 1}),
    (Hidden | None, None, None),  # pyright: ignore[reportOperatorIssue]  # fine at run time
    (Hidden | None, CANARY, "***"),  # pyright: ignore[reportOperatorIssue]  # fine at run time
    (int | Hidden, CANARY, "***"),
    (Hidden | int, 5, 5),
    (Hidden | Item, {"sku": CANARY}, {"sku": "***", "count": 1}),
    (SecretStr | Item, {"sku": CANARY}, {"sku": "***", "count": 1}),
    (Plain, {"name": CANARY, "count": 1}, {"name": "***", "count": 1}),
    (Checked, {"email": "b@c", "count": 1}, {"email": "b***@***", "count": 1}),
    (Row, {"name": CANARY, "count": 1}, {"name": "***", "count": 1}),
    (RootModel[list[Item]], [{"sku": CANARY}], [{"sku": "***", "count": 1}]),
    (InstanceOf[Item] | None, None, None),
    (
        Tree,
        {"name": "x", "children": [{"name": CANARY}]},
        {
            "name": "***",
            "label": "leaf",
            "children": [{"name": "***", "label": "leaf", "children": []}],
        },
    ),
]


RETURNED: list[tuple[Any, Any]] = [
    (None, None),
    ("text", "text"),
    (True, True),
    (1.5, 1.5),
    ([1, (2, 3), {4}, deque([5])], [1, [2, 3], [4], [5]]),
    (OrderedDict(a=1), {"a": 1}),
    ({1: "a", UUID(int=1): "b"}, {"1": "a", "00000000-0000-0000-0000-000000000001": "b"}),
    (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00Z"),
    ([date(2026, 1, 1), Decimal("1.5"), Size.SMALL, b"x"], ["2026-01-01", "1.5", "small", "x"]),
    ([SecretStr(CANARY), SecretBytes(b"x"), Secret[int](5)], ["***", "***", "***"]),
    ({"order": ORDER}, {"order": {"order_id": 7, "email": "a***@***", "card": "***"}}),
    ({"deep": [{"item": Item(sku=CANARY)}]}, {"deep": [{"item": {"sku": "***", "count": 1}}]}),
    (Plain(CANARY, 1), {"name": "***", "count": 1}),
    ((Checked("a@b", 1),), [{"email": "a***@***", "count": 1}]),
    ({SecretStr(CANARY): 1}, {"***": 1}),
    ((n for n in range(2)), [0, 1]),
    (["NaN", "Infinity"], ["NaN", "Infinity"]),
]


class TestMask:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("alice@example.com", "a***@***"),
            ("é@x", "é***@***"),
            ("", "***"),
            ("@example.com", "***"),
            ("alice", "***"),
            ("alice@", "***"),
            ("a@b@c", "***"),
            (" alice@example.com", "***"),
            (None, "***"),
            (5, "***"),
        ],
    )
    def test_an_email_shows_its_first_letter_only(self, value: object, expected: str) -> None:
        assert Mask("email").show(value) == expected

    def test_an_unknown_kind_is_refused_with_the_known_ones(self) -> None:
        with pytest.raises(
            DeclarationError, match=r"Mask\('e-mail'\) .* use one of 'email', 'hash', 'hidden', 'last4'\."
        ):
            Mask("e-mail")

    def test_masks_of_a_kind_are_equal_and_print_as_they_are_written(self) -> None:
        assert Mask() == Mask("hidden") != Mask("email")
        assert len({Mask(), Mask(), Mask("email")}) == 2
        assert (repr(Mask()), repr(Mask("email"))) == ("Mask()", "Mask('email')")

    def test_a_mask_changes_neither_validation_nor_what_pydantic_writes(self) -> None:
        class Bare(BaseModel):
            order_id: int
            email: str
            card: SecretStr

        assert ORDER.model_dump_json() == Bare(**ORDER.model_dump()).model_dump_json()
        assert Order.model_json_schema()["properties"] == Bare.model_json_schema()["properties"]


class TestMaskedPayload:
    def test_masks_and_secrets_are_hidden_and_the_rest_is_shown(self) -> None:
        assert shown(Order, ORDER) == {"order_id": 7, "email": "a***@***", "card": "***"}

    def test_a_type_without_masks_and_without_a_sanitiser_shows_nothing(self) -> None:
        outcome = sanitizer(dict[str, int]).show({"a": 1})
        assert (outcome.json, outcome.value, outcome.withheld) == (None, None, None)

    @pytest.mark.parametrize(("tp", "value", "expected"), MASKED)
    def test_a_mask_is_found_wherever_the_type_holds_it(self, tp: Any, value: object, expected: object) -> None:
        assert shown(tp, value) == expected

    def test_a_named_tuple_with_a_mask_is_hidden_whole(self) -> None:
        assert shown(list[Pair], [(CANARY, 1)]) == ["***"]

    def test_aliases_are_shown_as_they_stand_in_the_queue(self) -> None:
        class Aliased(BaseModel):
            email: Email = Field(alias="e-mail")
            other: SecretStr = Field(validation_alias="Other")

        assert shown(Aliased, {"e-mail": "a@b", "Other": CANARY}) == {"e-mail": "a***@***", "Other": "***"}

    def test_a_serializer_of_the_users_own_cannot_undo_a_mask(self) -> None:
        class Undone(BaseModel):
            email: Email
            cards: list[SecretStr]
            inner: Item
            tree: Tree

            @field_serializer("email", "inner", "tree")
            def leak(self, value: Any) -> str:
                return str(value)

            @field_serializer("cards")
            def leak_cards(self, cards: list[SecretStr]) -> list[str]:
                return [card.get_secret_value() for card in cards]

        outcome = sanitizer(Undone).show(
            Undone(email="a@b", cards=[SecretStr(CANARY)], inner=Item(sku=CANARY), tree=Tree(name=CANARY))
        )
        assert outcome.value["email"] == "a***@***"
        assert outcome.value["cards"] == ["***"]
        assert CANARY.encode() not in (outcome.json or b"")

    def test_a_models_own_serializer_and_computed_fields_cannot_undo_a_mask(self) -> None:
        class Undone(BaseModel):
            email: Email

            @model_serializer
            def leak(self) -> dict[str, str]:
                return {"leak": self.email}

        class Computed(BaseModel):
            email: Email

            @computed_field
            @property
            def leak(self) -> str:
                return self.email

        assert shown(list[Computed], [Computed(email="a@b")]) == [{"email": "a***@***"}]
        assert sanitizer(Undone).show(Undone(email="a@b")).value == {"email": "a***@***"}

    def test_models_that_stand_where_anything_may_are_masked_too(self) -> None:
        class Loose(BaseModel):
            anything: Any
            typed: SerializeAsAny[BaseModel]
            instance: InstanceOf[Item]
            card: SecretStr

        item = Item(sku=CANARY)
        outcome = sanitizer(Loose).show(
            Loose(anything=[item, SecretStr(CANARY)], typed=item, instance=item, card=SecretStr("x"))
        )
        expected = {"sku": "***", "count": 1}
        assert outcome.value == {
            "anything": [expected, "***"],
            "typed": expected,
            "instance": expected,
            "card": "***",
        }

    def test_masked_extra_fields_are_hidden(self) -> None:
        class Extra(BaseModel):
            model_config = ConfigDict(extra="allow")
            __pydantic_extra__: dict[str, SecretStr] = Field(init=False)  # pyright: ignore[reportIncompatibleVariableOverride]  # pydantic's way
            card: SecretStr

        outcome = sanitizer(Extra).show(Extra.model_validate({"card": "x", "more": CANARY}))
        assert CANARY not in repr(outcome)

    def test_tagged_unions_are_masked(self) -> None:
        class Card(BaseModel):
            kind: Literal["card"]
            number: SecretStr

        class Iban(BaseModel):
            kind: Literal["iban"]
            number: Hidden

        tp = Annotated[Card | Iban, Field(discriminator="kind")]
        assert shown(tp, {"kind": "iban", "number": CANARY}) == {"kind": "iban", "number": "***"}
        assert shown(list[tp], [{"kind": "card", "number": CANARY}]) == [{"kind": "card", "number": "***"}]

    def test_a_payload_that_does_not_fit_its_type_is_withheld(self) -> None:
        broken = Order.model_construct(order_id=CANARY, email="a@b", card=CANARY)
        outcome = sanitizer(Order).show(broken)
        assert (outcome.json, outcome.withheld) == (None, "PydanticSerializationError")
        assert CANARY not in repr(outcome)

    def test_numbers_that_are_not_json_are_withheld(self) -> None:
        class Measured(BaseModel):
            value: float
            card: SecretStr

        outcome = sanitizer(Measured).show(Measured(value=math.nan, card=SecretStr("x")))
        assert (outcome.json, outcome.withheld) == (None, "ValueError")

    @given(st.text(min_size=4), st.text(min_size=4))
    def test_no_masked_text_is_ever_shown(self, sku: str, secret: str) -> None:
        class Both(BaseModel):
            item: Item
            email: Email
            secrets: dict[str, SecretStr | Item]

        outcome = sanitizer(Both).show(
            Both(item=Item(sku=sku), email=sku, secrets={"a": SecretStr(secret), "b": Item(sku=sku)})
        )
        assert outcome.value["item"] == outcome.value["secrets"]["b"] == {"sku": "***", "count": 1}
        assert outcome.value["secrets"]["a"] == "***"
        assert len(outcome.value["email"]) <= 8


class TestSanitiser:
    def test_what_the_function_returns_is_shown(self) -> None:
        assert shown(Order, ORDER, lambda order: {"order_id": order.order_id}) == {"order_id": 7}

    @pytest.mark.parametrize(("returned", "expected"), RETURNED)
    def test_values_that_json_can_write_are_shown(self, returned: object, expected: object) -> None:
        assert shown(Order, ORDER, lambda _: returned) == expected

    def test_the_payload_itself_is_shown_with_its_masks(self) -> None:
        assert shown(Order, ORDER, lambda order: order) == {"order_id": 7, "email": "a***@***", "card": "***"}
        assert shown(Hidden, CANARY, lambda text: text) == "***"

    def test_a_payload_that_is_a_plain_dict_or_list_is_shown_with_its_masks(self) -> None:
        row = {"name": CANARY, "count": 1}
        masked = {"name": "***", "count": 1}
        assert shown(Row, row, lambda row: row) == masked
        assert shown(Row, row, lambda row: {"row": [row]}) == {"row": [masked]}
        assert shown(list[Row], [row], lambda rows: {"rows": rows}) == {"rows": [masked]}

    def test_a_model_without_masks_is_shown_whole(self) -> None:
        class Open(BaseModel):
            count: int

        assert shown(Open, {"count": 1}, lambda payload: payload) == {"count": 1}

    @pytest.mark.parametrize(
        ("returned", "reason"),
        [
            (object(), "PydanticSerializationError"),
            ({"a": {"b": object()}}, "PydanticSerializationError"),
            (math.nan, "ValueError"),
            ({"a": [math.inf]}, "ValueError"),
            ({("a", "b"): 1}, "TypeError"),
            ({ORDER.email: b"\xff"}, None),
            ("\ud800", None),
            (Order, None),
            (lambda: 1, None),
            (Order.model_construct(order_id=CANARY), "PydanticSerializationError"),
        ],
    )
    def test_what_json_cannot_write_is_withheld(self, returned: object, reason: str | None) -> None:
        outcome = sanitizer(Order, lambda _: returned).show(ORDER)
        assert outcome.json is None
        assert outcome.withheld
        assert reason in (None, outcome.withheld)
        assert CANARY not in repr(outcome)

    def test_circles_are_withheld(self) -> None:
        mapping: dict[str, Any] = {}
        mapping["self"] = mapping
        items: list[Any] = []
        items += [items, items]
        for circle in (mapping, items):
            assert sanitizer(Order, lambda _, circle=circle: circle).show(ORDER).withheld == "RecursionError"

    def test_a_sanitiser_that_raises_withholds_the_payload_and_says_no_more_than_the_type(self) -> None:
        def fails(order: Order) -> object:
            raise KeyError(order.card.get_secret_value())

        outcome = sanitizer(Order, fails).show(ORDER)
        assert (outcome.json, outcome.value, outcome.withheld) == (None, None, "KeyError")

    def test_a_sanitiser_that_is_async_is_refused_at_declaration(self) -> None:
        async def later(order: Order) -> object:
            return order

        with pytest.raises(DeclarationError, match=r"^order\.placed: the sanitiser is async"):
            sanitizer(Order, later)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        )
    )
    def test_any_json_value_is_shown_as_it_is(self, value: Any) -> None:
        assert sanitizer(Order, lambda _: value).show(ORDER).value == value

    @given(
        st.recursive(
            st.sampled_from([SecretStr(CANARY), Item(sku=CANARY), Plain(CANARY, 1), ORDER, Tree(name=CANARY)]),
            lambda inner: st.lists(inner) | st.dictionaries(st.text("ab"), inner) | st.tuples(inner),
        )
    )
    def test_no_secret_or_masked_value_is_shown_however_deep(self, value: Any) -> None:
        outcome = sanitizer(Order, lambda _: value).show(ORDER)
        assert outcome.withheld is None
        assert CANARY.encode() not in cast("bytes", outcome.json)
        assert b"alice@" not in cast("bytes", outcome.json)
