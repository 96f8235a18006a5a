"""Payloads are sealed whole or by fields, stay JSON, and open only in their own event and path."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, RootModel, SecretStr

from oxherd import DeclarationError, InvalidPayload, Keyring, Mask, Oxherd, PayloadTooLarge, SealError
from oxherd.payload.payload_type import PayloadType
from oxherd.privacy.redaction import Redactor
from oxherd.privacy.shown_payload import Sanitizer

CANARY = "kanarie7391"
MARK = "oxherd:sealed"
OLD, NEW = (Keyring.generate() for _ in range(2))
RING = Keyring({"2026-11": NEW, "2026-10": OLD})
STRICT = Keyring({"2026-11": NEW}, strict=True)


class Address(BaseModel):
    street: str = CANARY
    town: str = "Utrecht"


class Line(BaseModel):
    sku: str = "A-1"
    note: str = Field(default=CANARY, alias="Note")


class Order(BaseModel):
    order_id: int = 7
    card: SecretStr = SecretStr(CANARY)
    address: Address | str | None = Address()
    lines: list[Line] = [Line(), Line()]
    by_key: dict[str, Line] = {"key": Line()}
    price: float = 0.1
    meta: dict[str, Any] = {"kind": "web", "secret": CANARY}


def payload_type(tp: Any, seal: Any, event: str = "order.placed") -> PayloadType[Any]:
    return PayloadType(tp, event, 1 << 20, seal)


def reopened(tp: Any, seal: Any, value: Any) -> Any:
    made = payload_type(tp, seal)
    return made.decode(made.open(made.encode(value)))


def refusal(made: PayloadType[Any], raw: bytes) -> str:
    with pytest.raises(SealError) as caught:
        made.open(raw)
    assert caught.value.__context__ is None
    assert CANARY not in str(caught.value)
    return str(caught.value)


def test_a_whole_payload_is_one_sealed_text_and_opens_to_what_it_was() -> None:
    made = payload_type(Order, RING)
    raw = made.encode(Order())
    stored = json.loads(raw)
    assert list(stored) == [MARK]
    assert stored[MARK].startswith("v1.2026-11.")
    assert CANARY.encode() not in raw
    assert made.open(raw) == payload_type(Order, None).encode(Order())
    assert made.decode(made.open(raw)) == Order()
    assert made.encode(Order()) != raw


FIELDS: list[tuple[tuple[str, ...], list[tuple[Any, ...]]]] = [
    (("card",), [("card",)]),
    (("card", "address.street"), [("card",), ("address", "street")]),
    (("address",), [("address",)]),
    (("lines.note",), [("lines", 0, "Note"), ("lines", 1, "Note")]),
    (("lines",), [("lines",)]),
    (("by_key.note", "price"), [("by_key", "key", "Note"), ("price",)]),
    (("meta.secret", "meta.none"), [("meta", "secret")]),
]


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        value = value[part]
    return value


@pytest.mark.parametrize(("paths", "sealed_paths"), FIELDS)
def test_named_fields_are_sealed_and_the_rest_is_not(
    paths: tuple[str, ...], sealed_paths: list[tuple[Any, ...]]
) -> None:
    seal = RING.fields(*paths)
    raw = payload_type(Order, seal).encode(Order())
    stored, plain = json.loads(raw), json.loads(payload_type(Order, None).encode(Order()))
    for path in sealed_paths:
        sealed = at(stored, path)
        assert list(sealed) == [MARK]
        assert sealed[MARK].startswith("v1.2026-11.")
        at(stored, path[:-1])[path[-1]] = at(plain, path)
    assert stored == plain
    assert reopened(Order, seal, Order()) == Order()


def test_a_text_in_place_of_a_model_on_the_path_is_sealed_too() -> None:
    made = payload_type(Order, RING.fields("address.street"))
    raw = made.encode(Order(address=CANARY))
    assert list(json.loads(raw)["address"]) == [MARK]
    assert made.decode(made.open(raw)).address == CANARY
    none = made.encode(Order(address=None))
    assert list(json.loads(none)["address"]) == [MARK]
    assert made.decode(made.open(none)).address is None


class Choice(BaseModel):
    card: Annotated[str, Mask("last4")] = "4111 1111 1111 1111"


TYPES: list[tuple[Any, Any, tuple[str, ...]]] = [
    (int, 5, ()),
    (str, "é\u2028😀 \x00", ()),
    (list[Line], [{"Note": "x"}], ("note",)),
    (RootModel[dict[str, Line]], {"a": {"Note": "x"}}, ("note",)),
    (Choice | Address, {"card": CANARY}, ("card",)),
    (dict[str, Any], {"a": {"b": [1, 2.5, None, True, "é"]}, "n": 10**30, "f": 1e300}, ("a.b", "n", "f")),
]


@pytest.mark.parametrize(("tp", "value", "paths"), TYPES)
@pytest.mark.parametrize("ring", [RING, STRICT])
def test_payloads_of_any_type_come_back_as_they_were(
    tp: Any, value: Any, paths: tuple[str, ...], ring: Keyring
) -> None:
    plain = payload_type(tp, None)
    expected = plain.decode(plain.encode(value))
    assert reopened(tp, ring, value) == expected
    if paths:
        assert reopened(tp, ring.fields(*paths), value) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)
@given(JSON, st.sampled_from(["a", "b.c", "x"]))
def test_any_json_comes_back_as_it_was_from_whole_and_from_fields(value: Any, path: str) -> None:
    payload = {"a": value, "b": {"c": value, "d": value}, "e": value}
    made = payload_type(Any, None)
    expected = made.decode(made.encode(payload))
    assert reopened(Any, RING, payload) == expected
    assert reopened(Any, RING.fields(path), payload) == expected


# A text that the seal's own frame says anyway is no sign of the payload.
@given(st.text(min_size=4).filter(lambda text: not text.isascii() or (len(text) > 12 and text not in MARK)))
def test_no_sealed_text_is_stored_in_plain(text: str) -> None:
    for seal in (RING, RING.fields("card", "address.street", "lines.note", "by_key.note", "meta")):
        line = Line(Note=text)
        order = Order(
            card=SecretStr(text), address=Address(street=text), lines=[line], by_key={"k": line}, meta={"a": text}
        )
        raw = payload_type(Order, seal).encode(order)
        assert text not in json.dumps(json.loads(raw), ensure_ascii=False)


# -- what does not open


def test_a_seal_opens_only_in_its_own_event_and_path() -> None:
    made, other = payload_type(Order, RING), payload_type(Order, RING, "order.billed")
    assert "was changed or sealed for another event" in refusal(other, made.encode(Order()))
    fields = payload_type(Order, RING.fields("card", "address.street", "lines.note"))
    stored = json.loads(fields.encode(Order()))
    moved = [
        {**stored, "card": stored["address"]["street"]},
        {**stored, "lines": stored["lines"][::-1]},
        stored["card"],
        {**stored, "meta": stored["card"]},
        {**stored, "lines": [{"Note": json.loads(made.encode(Order()))}]},
    ]
    for each in moved:
        assert "does not open" in refusal(fields, json.dumps(each).encode())
    assert refusal(fields, json.dumps(moved[0]).encode()).startswith("order.placed: card is sealed with")
    assert refusal(fields, json.dumps(moved[1]).encode()).startswith("order.placed: lines.0.Note is sealed with")


def test_a_missing_key_is_named_with_what_to_do() -> None:
    raw = payload_type(Order, Keyring({"2026-09": OLD})).encode(Order())
    assert refusal(payload_type(Order, RING), raw) == (
        "order.placed: the payload is sealed with the key '2026-09', which the Keyring does not have here: add it, and "
        "retry the event."
    )
    raw = payload_type(Order, Keyring({"2026-09": OLD}).fields("address.street")).encode(Order())
    assert refusal(payload_type(Order, RING), raw).startswith(
        "order.placed: address.street is sealed with the key '2026-09'"
    )


def test_a_wrong_key_of_the_same_name_is_told_apart_from_a_missing_one() -> None:
    raw = payload_type(Order, Keyring({"2026-11": OLD})).encode(Order())
    assert "the key of that name is another one here" in refusal(payload_type(Order, RING), raw)


@pytest.mark.parametrize(
    "stored",
    [
        {MARK: None},
        {MARK: CANARY},
        {MARK: "v2.2026-11.AAAA"},
        {MARK: f"v1.{CANARY} {CANARY}.AAAA"},
        {MARK: ["v1.2026-11.AAAA"]},
        {MARK: "v1.2026-11.AAAA", "more": CANARY},
        {"order_id": {MARK: {}}},
        {"meta": {CANARY: {MARK: CANARY}}},
    ],
)
def test_a_damaged_seal_is_refused_without_being_quoted(stored: Any) -> None:
    why = refusal(payload_type(Order, RING), json.dumps(stored).encode())
    assert "has a seal that cannot be read: it is damaged, or a newer version's" in why


def test_changing_any_byte_of_a_seal_is_noticed() -> None:
    made = payload_type(int, RING)
    raw = made.encode(7)
    for offset in range(len(f'{{"{MARK}":"v1.2026-11.'), len(raw) - 3):
        changed = bytearray(raw)
        changed[offset] = ord("A") if changed[offset] != ord("A") else ord("B")
        refusal(made, bytes(changed))


def test_an_event_without_a_keyring_refuses_sealed_payloads() -> None:
    class Lenient(BaseModel):
        note: str = "none"

    plain = payload_type(Lenient, None)
    for seal in (RING, RING.fields("note")):
        raw = payload_type(Lenient, seal).encode(Lenient())
        assert "is declared without seal= here" in refusal(plain, raw)
    raw = json.dumps({"note": f"about {MARK}"}).encode()
    assert plain.open(raw) == raw


def test_a_payload_may_hold_the_key_oxherd_sealed_only_if_sealed_whole() -> None:
    value = {"deep": [{MARK: "v1.2026-11.AAAA"}]}
    for seal in (None, RING.fields("other")):
        with pytest.raises(InvalidPayload, match="no key of it may be 'oxherd:sealed'"):
            payload_type(dict[str, Any], seal).encode(value)
    assert reopened(dict[str, Any], RING, value) == value


@pytest.mark.parametrize(
    "raw", [b"", b"{", b'{"oxherd:sealed"', b"[" * 100_000 + b'"oxherd:sealed"', b'"oxherd:sealed"']
)
def test_invalid_json_is_left_for_the_type_to_refuse(raw: bytes) -> None:
    for ring in (None, RING, RING.fields("card")):
        made = payload_type(Order, ring)
        with pytest.raises(InvalidPayload):
            made.decode(made.open(raw))


@pytest.mark.parametrize("depth", [150, 900, 5000])
def test_too_deep_nesting_is_refused(depth: int) -> None:
    raw = b'{"a":' * depth + b'{"oxherd:sealed":"v1.2026-11.AAAA"}' + b"}" * depth
    for ring in (None, RING, STRICT, RING.fields("a"), STRICT.fields("a")):
        made = payload_type(Any, ring)
        with pytest.raises(InvalidPayload):
            made.decode(made.open(raw))


# -- migration, rotation, limits


def test_a_plain_payload_is_accepted_unless_the_keyring_is_strict() -> None:
    plain = payload_type(Order, None).encode(Order())
    for ring in (RING, RING.fields("card")):
        made = payload_type(Order, ring)
        assert made.open(plain) == plain
    for ring in (STRICT, STRICT.fields("card"), STRICT.fields("lines.note", "meta.secret")):
        assert "is not sealed, and the Keyring is strict" in refusal(payload_type(Order, ring), plain)
        assert reopened(Order, ring, Order()) == Order()


def test_strict_accepts_payloads_sealed_as_declared_or_further() -> None:
    whole, some, one = (
        payload_type(Order, seal) for seal in (STRICT, STRICT.fields("card", "meta"), STRICT.fields("card"))
    )
    order = Order()
    assert one.decode(one.open(whole.encode(order))) == one.decode(one.open(some.encode(order))) == order
    assert "strict" in refusal(whole, some.encode(order))
    assert "strict" in refusal(some, one.encode(order))
    assert some.decode(some.open(some.encode(Order(address=None)))) == Order(address=None)


def test_a_changed_choice_of_fields_opens_older_payloads() -> None:
    seals = [RING, RING.fields("card"), RING.fields("address", "lines.note"), RING.fields("address.street", "lines")]
    for before in seals:
        raw = payload_type(Order, before).encode(Order())
        for after in seals:
            made = payload_type(Order, after)
            assert made.decode(made.open(raw)) == Order()


def test_a_rotated_keyring_opens_old_and_new_until_the_old_key_is_removed() -> None:
    before, after, later = Keyring({"a": OLD}), Keyring({"b": NEW, "a": OLD}), Keyring({"b": NEW})
    old, new = (payload_type(Order, ring).encode(Order()) for ring in (before, after))
    made = payload_type(Order, after)
    assert made.decode(made.open(old)) == made.decode(made.open(new)) == Order()
    gone = payload_type(Order, later)
    assert gone.decode(gone.open(new)) == Order()
    assert "the key 'a', which the Keyring does not have" in refusal(gone, old)


def test_max_payload_counts_the_stored_bytes() -> None:
    value = "x" * 800
    assert len(payload_type(str, None).encode(value)) < 1000
    assert len(PayloadType[str](str, "order.placed", 1200, RING).encode(value)) > 1000
    with pytest.raises(PayloadTooLarge, match="the limit is 1000 bytes"):
        PayloadType[str](str, "order.placed", 1000, RING).encode(value)


def test_payloads_are_the_same_if_they_open_alike_under_the_same_keys() -> None:
    def of_fields(ring: Keyring) -> Any:
        return ring.fields("card", "lines.note")

    def whole(ring: Keyring) -> Any:
        return ring

    for choose in (whole, of_fields):
        made = payload_type(Order, choose(RING))
        stored, data = json.loads(made.encode(Order())), made.encode(Order())
        assert json.loads(data) != stored
        assert made.sealer.is_same(stored, data)
        assert not made.sealer.is_same(stored, made.encode(Order(card=SecretStr("another"))))
        assert not made.sealer.is_same(json.loads(payload_type(Order, None).encode(Order())), data)
        rotated = payload_type(Order, choose(Keyring({"2026-12": OLD, "2026-11": NEW})))
        assert not rotated.sealer.is_same(stored, rotated.encode(Order()))
        assert not rotated.sealer.is_same({MARK: "v1.2026-12.AAAA"}, rotated.encode(Order()))
    plain = payload_type(Order, None)
    assert plain.sealer.is_same(json.loads(plain.encode(Order())), plain.encode(Order()))
    assert not plain.sealer.is_same(json.loads(plain.encode(Order(order_id=8))), plain.encode(Order()))


def test_a_seal_that_does_not_fit_the_type_is_refused_at_declaration() -> None:
    with pytest.raises(
        DeclarationError, match=r"^order\.placed: seal: the payload has no field 'crad'; did you mean 'card'\?"
    ):
        Oxherd().declare("order.placed", Order, seal=RING.fields("crad"))
    with pytest.raises(DeclarationError, match=r"^order\.placed: seal: it names no field"):
        Oxherd().declare("order.placed", Order, seal=RING.fields())
    with pytest.raises(DeclarationError, match=r"^order\.placed: seal must be a Keyring") as caught:
        Oxherd().declare("order.placed", Order, seal=NEW)  # pyright: ignore[reportCallIssue, reportArgumentType]
    assert NEW not in str(caught.value)


# -- the log


def test_sealing_changes_neither_what_is_shown_nor_what_is_withheld() -> None:
    for seal in (RING, RING.fields("card")):
        made = payload_type(Choice, seal)
        opened = made.open(made.encode(Choice()))
        found = Sanitizer(made).show(made.decode(opened))
        assert found.value == {"card": "***1111"}
        redactor = Redactor(opened, found.json, made.field_names)
        assert redactor.redact("declined 4111 1111 1111 1111") == "declined ***"
