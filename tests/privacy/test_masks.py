"""Each kind of mask: what it shows of a value; the rest is in no error."""

from __future__ import annotations

import hmac
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, RootModel, Secret, SecretBytes, SecretStr, computed_field, create_model
from typing_extensions import TypedDict

from oxherd import DeclarationError, Mask
from oxherd.payload.payload_type import PayloadType
from oxherd.privacy.redaction import Redactor
from oxherd.privacy.shown_payload import Sanitizer, ShownPayload
from tests.tracebacks import text_of

CARD = "4929 1234 5678 9012"
KEY = b"kanarie-key-of-16-bytes-or-more"
CANARY = "kanarie7391"
T = TypeVar("T")

Last4 = Annotated[str, Mask("last4")]
Hashed = Annotated[str, Mask("hash", key=KEY)]


def outcome(tp: Any, value: Any) -> ShownPayload:
    """What is shown of a payload that has come through the queue."""
    payload_type = PayloadType(tp, "order.placed", 1 << 20)
    return Sanitizer(payload_type).show(payload_type.decode(payload_type.encode(value)))


def shown(tp: Any, value: Any) -> Any:
    found = outcome(tp, value)
    assert found.withheld is None
    return found.value


def hashed(text: str, key: bytes = KEY) -> str:
    return f"hmac:{hmac.digest(key, text.encode(), 'sha256').hex()[:16]}"


# -- last4


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (CARD, "***9012"),
        ("4929-1234-5678-9012", "***9012"),
        ("4929123456789012", "***9012"),
        ("NL91 ABNA 0417 1643 00", "***4300"),
        ("GB82.WEST.1234.5698.7654.32", "***5432"),
        ("12345678", "***5678"),
        ("1234567", "***"),
        ("1234-567", "***"),
        ("12 34 56 78", "***5678"),
        ("1234\u00a05678\u2010", "***5678"),
        ("----    ----", "***"),
        ("", "***"),
        (SecretStr(CARD), "***9012"),
        (SecretBytes(CARD.encode()), "***9012"),
        (Secret[int](4929123456789012), "***9012"),
        (4929123456789012, "***9012"),
        (None, "***"),
        ([CARD], "***"),
        ({"card": CARD}, "***"),
        (object(), "***"),
    ],
)
def test_last4_shows_the_last_four_of_eight_or_more(value: object, expected: str) -> None:
    assert Mask("last4").show(value) == expected


def redacted(text: str, value: Any, *, tp: Any = Last4) -> str:
    payload_type = PayloadType[Any](dict[str, tp], "order.placed", 1 << 20)
    raw = payload_type.encode({"card": value})
    found = Sanitizer(payload_type).show(payload_type.decode(raw))
    assert found.json is not None
    return Redactor(raw, found.json, frozenset({"card"})).redact(text)


WRITTEN: list[Callable[[str], str]] = [
    str,
    lambda card: card.replace(" ", ""),
    lambda card: card.replace(" ", "-"),
    lambda card: card.replace(" ", "."),
    lambda card: card.replace(" ", "  "),
    lambda card: card.replace(" ", "%20"),
    lambda card: card.replace(" ", "+"),
    lambda card: card.replace(" ", "\u00a0"),
    lambda card: "/".join(card.split()),
    lambda card: repr(card.split()),
    lambda card: f"{int(card.replace(' ', '')):,}",
]


@pytest.mark.parametrize("write", range(len(WRITTEN)))
@pytest.mark.parametrize("stored", [CARD, CARD.replace(" ", ""), CARD.replace(" ", "-")])
def test_what_last4_does_not_show_is_in_no_error_however_it_is_grouped(write: int, stored: str) -> None:
    result = redacted(f"declined: {WRITTEN[write](CARD)}!", stored)
    assert "***" in result
    assert not [group for group in ("4929", "1234", "5678", "123", "567") if group in result]


def test_what_last4_shows_is_not_withheld() -> None:
    assert redacted("the card ***9012, 9012 that is, was declined", CARD) == (
        "the card ***9012, 9012 that is, was declined"
    )


def test_numbers_and_secrets_with_last4_are_redacted_alike() -> None:
    for tp, value in ((Annotated[int, Mask("last4")], 4929123456789012), (Annotated[SecretStr, Mask("last4")], CARD)):
        text = "declined 4929123456789012, of 9012"
        assert redacted(text, value, tp=tp) == "declined ***, of 9012"


def test_a_hidden_number_in_groups_is_found_without_them_and_the_other_way_round() -> None:
    for stored in (CARD, CARD.replace(" ", ""), int(CARD.replace(" ", ""))):
        redactor = Redactor(json.dumps({"card": stored}).encode(), None, frozenset({"card"}))
        for text in (CARD, CARD.replace(" ", ""), CARD.replace(" ", "-")):
            result = redactor.redact(f"declined {text}.")
            assert result == "declined ***." or (stored == CARD and text != CARD and "4929" not in result), text


# -- hash


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (CANARY, CANARY),
        ("", ""),
        ("😀 é", "😀 é"),
        (SecretStr(CANARY), CANARY),
        (SecretBytes(CANARY.encode()), CANARY),
        (CANARY.encode(), CANARY),
        (42, "42"),
        (Secret[int](42), "42"),
        (True, "true"),
        (Decimal("1.50"), "1.50"),
        (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (datetime(2026, 11, 1, tzinfo=UTC), "2026-11-01T00:00:00Z"),
    ],
)
def test_hash_shows_a_value_under_its_key(value: object, text: str) -> None:
    expected = hashed(text)
    assert Mask("hash", key=KEY).show(value) == expected
    assert Mask("hash", key=KEY.decode()).show(value) == expected
    assert Mask("hash", key=lambda: KEY).show(value) == expected
    assert Mask("hash", key=b"another key, as long").show(value) != expected


@pytest.mark.parametrize("value", [None, [CANARY], {CANARY: 1}, object(), (CANARY,)])
def test_hash_hides_what_is_no_scalar(value: object) -> None:
    assert Mask("hash", key=KEY).show(value) == "***"


def test_equal_values_are_shown_alike_in_another_process() -> None:
    code = (
        "import os; from oxherd import Mask; "
        "print(Mask('hash', key=lambda: os.environ['LOG_KEY']).show('alice@example.com'))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "LOG_KEY": KEY.decode(), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert found == {hashed("alice@example.com")}


def test_a_keys_function_is_called_at_the_first_use_and_once() -> None:
    calls: list[int] = []

    def key() -> bytes:
        calls.append(1)
        return KEY

    mask = Mask("hash", key=key)
    assert not calls
    assert mask.show("a") == mask.show("a") == hashed("a")
    assert len(calls) == 1


@pytest.mark.parametrize(
    "key", [None, b"", b"kanarie7391", "kanarie7391", 17, bytearray(b"kanarie7391" * 2), [CANARY] * 20]
)
def test_an_invalid_key_is_refused_without_being_quoted(key: Any) -> None:
    with pytest.raises(DeclarationError, match="at least 16 bytes") as caught:
        Mask("hash", key=key)
    assert CANARY not in text_of(caught.value)


def test_a_key_is_refused_by_kinds_that_take_none() -> None:
    async def key() -> bytes:
        return KEY

    for kind in ("email", "no such kind"):
        with pytest.raises(DeclarationError, match=r"takes no key|is not a kind") as caught:
            Mask(kind, key=KEY)
        assert "kanarie" not in text_of(caught.value)
    with pytest.raises(DeclarationError, match="async"):
        Mask("hash", key=key)  # pyright: ignore[reportArgumentType]  # that is the test


def refuses() -> bytes:
    raise KeyError(CANARY)


class Choice(BaseModel):
    kind: Literal["choice"] = "choice"
    value: Annotated[str, Mask("hash", key=refuses)]


class Other(BaseModel):
    kind: Literal["other"] = "other"


_Refusing = Annotated[str, Mask("hash", key=refuses)]
_TooShort = Annotated[str, Mask("hash", key=lambda: b"short")]


@pytest.mark.parametrize(
    ("tp", "value"),
    [
        (_Refusing, CANARY),
        (_TooShort, CANARY),
        (_Refusing | int, CANARY),  # pyright: ignore[reportOperatorIssue]  # fine at run time
        (_Refusing | None, CANARY),  # pyright: ignore[reportOperatorIssue]  # fine at run time
        (int | _Refusing | None, CANARY),
        (list[_Refusing], [CANARY]),
        (dict[str, _Refusing], {"a": CANARY}),
        (dict[_Refusing, int], {CANARY: 1}),
        (tuple[int, _Refusing], (1, CANARY)),
        (Choice, {"value": CANARY}),
        (Choice | Other, {"value": CANARY}),
        (Annotated[Choice | Other, Field(discriminator="kind")], {"kind": "choice", "value": CANARY}),
        (list[Choice | int], [{"value": CANARY}]),
        (RootModel[_Refusing], CANARY),
        (Annotated[SecretStr, Mask("hash", key=refuses)] | int, CANARY),
    ],
)
def test_a_mask_that_fails_withholds_the_payload_wherever_it_stands(tp: Any, value: Any) -> None:
    found = outcome(tp, value)
    assert found.json is None
    assert found.withheld
    assert CANARY not in repr(found)


def test_no_key_is_in_the_repr_of_what_holds_it() -> None:
    class Order(BaseModel):
        email: Hashed

    mask = Mask("hash", key=KEY)
    payload_type = PayloadType(Order, "order.placed", 1 << 20)
    sanitizer = Sanitizer(payload_type)
    for held in (mask, mask.show, Hashed, Order.model_fields, payload_type, payload_type.schema, sanitizer):
        assert "kanarie" not in repr(held)
    assert repr(mask) == "Mask('hash', key=...)"
    assert repr(Mask("last4")) == "Mask('last4')"


def test_hashes_with_one_key_are_equal_masks_and_with_another_are_not() -> None:
    assert Mask("hash", key=KEY) == Mask("hash", key=KEY) != Mask("hash", key=KEY + b"2")
    assert Mask("hash", key=KEY) != Mask("last4") != Mask()
    assert len({Mask("hash", key=KEY), Mask("hash", key=KEY), Mask("last4"), Mask("last4")}) == 2


def test_a_hashed_value_is_withheld_from_errors_and_its_hash_is_not() -> None:
    assert redacted(f"no account {CANARY}, see {hashed(CANARY)}", CANARY, tp=Hashed) == (
        f"no account ***, see {hashed(CANARY)}"
    )


# -- wherever a type holds them


class Line(BaseModel):
    sku: Hashed
    card: Last4
    count: int = 1


class Box(BaseModel, Generic[T]):
    content: T


@dataclass
class Plain:
    card: Last4
    box: Box[Hashed]


class Row(TypedDict, total=False):
    card: Last4
    number: Annotated[int, Mask("hash", key=KEY)]


class Aliased(BaseModel):
    card: Last4 = Field(alias="Card-No")
    secret: Annotated[SecretStr, Mask("hash", key=KEY)] = Field(validation_alias="s")

    @computed_field
    @property
    def again(self) -> str:
        return self.card


LINE = {"sku": CANARY, "card": CARD}
LINE_SHOWN = {"sku": hashed(CANARY), "card": "***9012", "count": 1}

EVERYWHERE: list[tuple[Any, Any, Any]] = [
    (list[Line], [LINE], [LINE_SHOWN]),
    (dict[str, Line], {"a": LINE}, {"a": LINE_SHOWN}),
    (dict[str, Last4], {"a": CARD}, {"a": "***9012"}),
    (dict[Last4, int], {CARD: 1}, {"***9012": 1}),
    (Line | None, None, None),
    (Line | None, LINE, LINE_SHOWN),
    (Line | int, LINE, LINE_SHOWN),
    (int | Last4, CARD, "***9012"),
    (tuple[Line, ...], [LINE], [LINE_SHOWN]),
    (tuple[int, Last4], [1, CARD], [1, "***9012"]),
    (set[Last4], [CARD], ["***9012"]),
    (frozenset[Hashed], [CANARY], [hashed(CANARY)]),
    (RootModel[dict[str, list[Line]]], {"a": [LINE]}, {"a": [LINE_SHOWN]}),
    (Box[Last4], {"content": CARD}, {"content": "***9012"}),
    (Box[Line | None], {"content": LINE}, {"content": LINE_SHOWN}),
    (Box[Box[Hashed]], {"content": {"content": CANARY}}, {"content": {"content": hashed(CANARY)}}),
    (
        Plain,
        {"card": CARD, "box": {"content": CANARY}},
        {"card": "***9012", "box": {"content": hashed(CANARY)}},
    ),
    (Row, {"card": CARD, "number": 42}, {"card": "***9012", "number": hashed("42")}),
    (Row, {}, {}),
    (Aliased, {"Card-No": CARD, "s": CANARY}, {"Card-No": "***9012", "s": hashed(CANARY)}),
    (Annotated[UUID, Mask("hash", key=KEY)], UUID(int=7), hashed(str(UUID(int=7)))),
    (Annotated[SecretBytes, Mask("last4")], CARD.encode(), "***9012"),
    (Annotated[SecretStr, Mask("last4")] | None, CARD, "***9012"),  # pyright: ignore[reportOperatorIssue]  # fine at run time
    (Annotated[Line, Mask("last4")], LINE, "***"),
    (Annotated[Line | None, Mask("hash", key=KEY)], None, "***"),
]


@pytest.mark.parametrize(("tp", "value", "expected"), EVERYWHERE)
def test_a_kind_is_applied_wherever_the_type_holds_it(tp: Any, value: Any, expected: Any) -> None:
    assert shown(tp, value) == expected


LEAVES = [
    Annotated[str, Mask()],
    Annotated[str, Mask("email")],
    Annotated[str, Mask("last4")],
    Hashed,
    SecretStr,
    SecretBytes,
    Annotated[SecretStr, Mask("last4")],
    Annotated[str | int, Mask("hash", key=KEY)],
    Annotated[str, Field(min_length=2), Mask()],
]


def _model(inner: Any) -> Any:
    return create_model("Model", field=(inner, ...), other=(int, 1))


def _aliased(inner: Any) -> Any:
    return create_model("Aliased", field=(inner, Field(alias="Field")))


# How a type is put around another, and a value of it around one of that.
SHAPES: list[tuple[Callable[[Any], Any], Callable[[Any], Any]]] = [
    (lambda t: list[t], lambda v: [v]),
    (lambda t: dict[str, t], lambda v: {"key": v}),
    (lambda t: tuple[int, t], lambda v: (1, v)),
    (lambda t: tuple[t, ...], lambda v: (v, v)),
    (lambda t: t | None, lambda v: v),
    (lambda t: t | int, lambda v: v),
    (lambda t: int | t, lambda v: v),
    (_model, lambda v: {"field": v}),
    (_aliased, lambda v: {"Field": v}),
    (lambda t: _model(t) | Other, lambda v: {"field": v}),
    (lambda t: Box[t], lambda v: {"content": v}),
    (lambda t: RootModel[t], lambda v: v),
    (lambda t: TypedDict("Typed", {"field": t}), lambda v: {"field": v}),  # pyright: ignore[reportInvalidTypeForm]
    (lambda t: Annotated[t, Field(description="any")], lambda v: v),
    (lambda t: Annotated[t, Mask()], lambda v: v),
]


@settings(deadline=None)
@given(st.sampled_from(LEAVES), st.lists(st.integers(0, len(SHAPES) - 1), max_size=5), st.booleans())
def test_a_masked_canary_is_never_shown_in_whatever_shape_it_is(leaf: Any, shapes: list[int], by_model: bool) -> None:
    tp, value = leaf, "kanarie@7391-abcd"
    for shape in shapes:
        wrap, hold = SHAPES[shape]
        tp, value = wrap(tp), hold(value)
    found = outcome(_model(tp) if by_model else tp, {"field": value} if by_model else value)
    assert found.withheld is None
    for part in (b"kanarie", b"7391", b"anarie@"):
        assert part not in (found.json or b"")
