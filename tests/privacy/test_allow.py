"""Allow shows the fields that it names, with their masks, and nothing else; a name that is none is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, RootModel, SecretStr, computed_field, model_serializer
from typing_extensions import TypedDict

from oxherd import Allow, DeclarationError, Mask, Oxherd
from oxherd.payload.payload_type import PayloadType
from oxherd.privacy.redaction import Redactor
from oxherd.privacy.shown_payload import Sanitizer, ShownPayload

CANARY = "kanarie7391"
T = TypeVar("T")


def outcome(tp: Any, value: Any, *paths: str) -> ShownPayload:
    """What is shown of a payload that has come through the queue."""
    payload_type = PayloadType(tp, "order.placed", 1 << 20)
    raw = payload_type.encode(value)
    found = Sanitizer(payload_type, Allow(*paths)).show(payload_type.decode(raw))
    assert CANARY.encode() not in (found.json or b"")
    return found


def shown(tp: Any, value: Any, *paths: str) -> Any:
    found = outcome(tp, value, *paths)
    assert found.withheld is None
    return found.value


class Address(BaseModel):
    street: str = CANARY
    town: str = "Utrecht"


class Customer(BaseModel):
    id: int = 7
    email: Annotated[str, Mask("email")] = "alice@kanarie7391.nl"
    card: SecretStr = SecretStr(CANARY)
    address: Address | None = Address()


class Line(BaseModel):
    sku: str = "A-1"
    note: str = CANARY


class Order(BaseModel):
    order_id: int = 1
    total: float = 9.5
    note: str = CANARY
    customer: Customer = Customer()
    lines: list[Line] = [Line(), Line(sku="B-2")]
    by_key: dict[str, Line] = {CANARY: Line()}
    meta: dict[str, Any] = {"kind": "web", "secret": CANARY, "deep": {"a": 1, CANARY: 2}}
    nested: dict[str, list[dict[str, Line]]] = {CANARY: [{CANARY: Line()}]}


ALLOWED: list[tuple[tuple[str, ...], Any]] = [
    (("order_id", "total"), {"order_id": 1, "total": 9.5}),
    (("customer.id",), {"customer": {"id": 7}}),
    (("customer.email", "customer.card"), {"customer": {"email": "a***@***", "card": "***"}}),
    (("customer.address.town", "order_id"), {"customer": {"address": {"town": "Utrecht"}}, "order_id": 1}),
    (("lines.sku",), {"lines": [{"sku": "A-1"}, {"sku": "B-2"}]}),
    (("by_key.sku",), {"by_key": [{"sku": "A-1"}]}),
    (("nested.sku",), {"nested": [[[{"sku": "A-1"}]]]}),
    (("meta.kind",), {"meta": {"kind": "web"}}),
    (("meta.deep.a", "meta.none"), {"meta": {"deep": {"a": 1}}}),
    (("meta.kind.further",), {"meta": {}}),
    (("customer.address.town", "customer.address.town"), {"customer": {"address": {"town": "Utrecht"}}}),
]


@pytest.mark.parametrize(("paths", "expected"), ALLOWED)
def test_only_what_is_named_is_shown(paths: tuple[str, ...], expected: Any) -> None:
    assert shown(Order, Order(), *paths) == expected


def test_a_shorter_path_shows_the_whole_in_whatever_order_they_are_named() -> None:
    whole = {"address": {"street": "Lane", "town": "Utrecht"}}
    order = Order(customer=Customer(address=Address(street="Lane")))
    for paths in (("customer.address", "customer.address.town"), ("customer.address.town", "customer.address")):
        assert shown(Order, order, *paths) == {"customer": whole}


@dataclass
class Plain:
    id: int
    line: Line
    note: str = CANARY


class Row(TypedDict, total=False):
    id: int
    note: str
    lines: list[Line]


class Box(BaseModel, Generic[T]):
    content: T
    note: str = CANARY


class Tree(BaseModel):
    name: str
    note: str = CANARY
    children: list[Tree] = []


class Card(BaseModel):
    kind: Literal["card"] = "card"
    number: str = CANARY
    bank: str = "ING"


class Iban(BaseModel):
    kind: Literal["iban"] = "iban"
    iban: str = CANARY
    bank: str = "ABN"


class Swapped(BaseModel):
    card: str = Field(default=CANARY, alias="id")
    id: int = Field(default=7, alias="card")


class Extra(BaseModel):
    model_config = ConfigDict(extra="allow")
    id: int = 7


class Odd(BaseModel):
    id: int = 7
    line: Line = Line()

    @model_serializer
    def written(self) -> dict[str, Any]:
        return {"id": self.id, "line": CANARY, "more": CANARY}


TYPES: list[tuple[Any, Any, tuple[str, ...], Any]] = [
    (Plain, {"id": 7, "line": {}}, ("id", "line.sku"), {"id": 7, "line": {"sku": "A-1"}}),
    (Row, {"id": 7, "note": CANARY, "lines": [{}]}, ("id", "lines.sku"), {"id": 7, "lines": [{"sku": "A-1"}]}),
    (Row, {"note": CANARY}, ("id", "lines.sku"), {}),
    (list[Line], [{}, {}], ("sku",), [{"sku": "A-1"}, {"sku": "A-1"}]),
    (tuple[int, Line], (3, {}), ("sku",), [{"sku": "A-1"}]),
    (RootModel[list[Line]], [{}], ("sku",), [{"sku": "A-1"}]),
    (dict[str, Line], {CANARY: {}}, ("sku",), [{"sku": "A-1"}]),
    (dict[str, str], {"id": "7", CANARY: CANARY}, ("id", "other"), {"id": "7"}),
    (Any, {"id": 7, "note": CANARY}, ("id",), {"id": 7}),
    (Any, CANARY, ("id",), None),
    (Any, [CANARY, {"id": 7}], ("id",), [{"id": 7}]),
    (Box[Line], {"content": {}}, ("content.sku",), {"content": {"sku": "A-1"}}),
    (Box[Line | None], {"content": None}, ("content.sku",), {"content": None}),
    (Box[Line | str], {"content": CANARY}, ("content.sku",), {}),
    (Box[Line | str], {"content": {"sku": "A-1"}}, ("content.sku",), {"content": {"sku": "A-1"}}),
    (Box[list[Line] | Line], {"content": {"sku": "A-1"}}, ("content.sku",), {"content": {"sku": "A-1"}}),
    (Box[Card | Iban], {"content": {"kind": "iban"}}, ("content.bank",), {"content": {"bank": "ABN"}}),
    (
        Box[Annotated[Card | Iban, Field(discriminator="kind")]],
        {"content": {"kind": "card"}},
        ("content.bank", "content.kind"),
        {"content": {"bank": "ING", "kind": "card"}},
    ),
    (
        Tree,
        {"name": "a", "children": [{"name": "b"}]},
        ("name", "children.name"),
        {"name": "a", "children": [{"name": "b"}]},
    ),
    (Swapped, {"id": CANARY, "card": 7}, ("id",), {"id": 7}),
    (Extra, {"id": 7, "more": 8, "note": CANARY}, ("id", "more"), {"id": 7, "more": 8}),
    (Odd, {}, ("id", "line.sku"), {"id": 7}),
    (Order | None, None, ("order_id",), None),
]


@pytest.mark.parametrize(("tp", "value", "paths", "expected"), TYPES)
def test_paths_are_followed_through_every_kind_of_type(
    tp: Any, value: Any, paths: tuple[str, ...], expected: Any
) -> None:
    payload_type = PayloadType(tp, "order.placed", 1 << 20)
    found = Sanitizer(payload_type, Allow(*paths)).show(payload_type.decode(json.dumps(value)))
    assert (found.value, found.withheld) == (expected, None)
    assert CANARY.encode() not in (found.json or b"")


class Pair(NamedTuple):
    name: str
    number: int


class Named(BaseModel):
    pair: Pair = Pair("a", 1)
    either: dict[str, Line] | Line = Line()
    e_mail: str = Field(default="", alias="E-Mail-Address")

    @computed_field
    @property
    def computed(self) -> str:
        return CANARY


WRONG: list[tuple[Any, tuple[str, ...], str]] = [
    (Order, ("order_idd",), r"the payload has no field 'order_idd'; did you mean 'order_id'\?"),
    (Order, ("order_id", "custmer.id"), r"the payload has no field 'custmer'; did you mean 'customer'\?"),
    (Order, ("customer.adress.town",), r"'customer' has no field 'adress'; did you mean 'address'\?"),
    (Order, ("lines.skew",), r"'lines' has no field 'skew'; did you mean 'sku'\?"),
    (Order, ("by_key.zzz",), r"'by_key' has no field 'zzz'; it has sku, note\."),
    (Order, ("order_id.digits",), r"'order_id' has no fields\."),
    (Order, ("customer.card.number",), r"'customer.card' has no fields\."),
    (Named, ("E-Mail-Adres",), r"did you mean 'e_mail'\?"),
    (Named, ("computed",), r"has no field 'computed'"),
    (Named, ("pair.name",), r"'pair' has no fields\."),
    (Named, ("either.sku",), r"'either' is a mapping of models or a model"),
    (Plain, ("idd",), r"did you mean 'id'\?"),
    (Row, ("idd",), r"did you mean 'id'\?"),
    (int, ("id",), r"the payload has no fields\."),
    (Order, ("",), "is named by a str"),
    (Order, ("customer.",), "is named by a str"),
    (Order, (7,), "is named by a str"),  # pyright: ignore[reportAssignmentType]  # that is the test
]


@pytest.mark.parametrize(("tp", "paths", "why"), WRONG)
def test_a_field_that_the_type_does_not_have_is_refused_at_declaration(
    tp: Any, paths: tuple[str, ...], why: str
) -> None:
    with pytest.raises(DeclarationError, match=rf"^order\.placed: Allow\(.*{why}"):
        Oxherd().declare("order.placed", tp, sanitize=Allow(*paths))


def test_allow_without_a_field_and_a_sanitiser_that_is_none_are_refused() -> None:
    with pytest.raises(DeclarationError, match="names no field"):
        Allow()
    with pytest.raises(DeclarationError, match=r"^order\.placed: sanitize must be a function"):
        Oxherd().declare("order.placed", Order, sanitize=("order_id",))  # pyright: ignore[reportCallIssue, reportArgumentType]


def test_allow_can_be_set_on_a_declared_event_once() -> None:
    event = Oxherd().declare("order.placed", Order)
    allow = Allow("order_id")
    assert event.sanitize(allow) is allow
    assert event.sanitizer().show(Order()).value == {"order_id": 1}
    with pytest.raises(DeclarationError, match="has a sanitiser already"):
        event.sanitize(Allow("total"))


def test_equal_allows_are_equal_and_print_as_they_are_written() -> None:
    assert Allow("a", "b.c") == Allow("b.c", "a") != Allow("a")
    assert len({Allow("a", "b"), Allow("b", "a")}) == 1
    assert repr(Allow("a", "b.c")) == "Allow('a', 'b.c')"


def broken() -> bytes:
    raise KeyError(CANARY)


def test_what_cannot_be_shown_withholds_the_payload() -> None:
    class Failing(BaseModel):
        id: int
        name: Annotated[str, Mask("hash", key=broken)]

    found = outcome(Failing, {"id": 1, "name": CANARY}, "id", "name")
    assert (found.json, bool(found.withheld)) == (None, True)
    unfit = Sanitizer(PayloadType(Order, "order.placed", 1 << 20), Allow("order_id"))
    assert unfit.show(Order.model_construct(order_id=CANARY)).json is None


def test_what_is_not_allowed_is_withheld_from_errors_and_what_is_allowed_is_not() -> None:
    payload_type = PayloadType(Order, "order.placed", 1 << 20)
    raw = payload_type.encode(Order(order_id=1234567, note="hidden note"))
    found = Sanitizer(payload_type, Allow("order_id", "customer.address.town")).show(payload_type.decode(raw))
    redactor = Redactor(raw, found.json, payload_type.field_names)
    assert redactor.redact(f"order 1234567 to Utrecht: {CANARY}, hidden note, alice@{CANARY}.nl") == (
        "order 1234567 to Utrecht: ***, ***, ***"
    )


FORMS: list[Callable[[Any], Any]] = [
    lambda value: value,
    lambda value: [value],
    lambda value: {"id": value},
    lambda value: {CANARY: value},
    lambda value: {"a": {"id": value}},
]


@given(st.recursive(st.just(CANARY), lambda inner: st.tuples(st.sampled_from(FORMS), inner).map(lambda p: p[0](p[1]))))
def test_no_value_beside_the_path_is_shown_in_whatever_shape_it_comes(value: Any) -> None:
    payload_type = PayloadType[Any](Any, "order.placed", 1 << 20)
    allowed = {"allowed": {"id": {"yes": 7}}, "id": value, "other": value}
    for payload in (allowed, [allowed, value], {"wrapped": allowed}):
        found = Sanitizer(payload_type, Allow("allowed.id.yes", "allowed.id.no")).show(payload)
        assert found.withheld is None
        assert CANARY.encode() not in (found.json or b"")
