"""Regressions: ways in which a value once got into an error's message."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import partial
from time import process_time
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, BeforeValidator, Field, ValidationError
from pydantic_core import PydanticCustomError, PydanticKnownError

from oxherd.errors import DeclarationError, InvalidPayload
from oxherd.payload.payload_type import PayloadType
from oxherd.privacy.error_text import redact_exception
from oxherd.privacy.redaction import Redactor
from oxherd.privacy.shown_payload import Sanitizer

CANARY = "canary-7f3a91c2"
CARD = 4111111111111111
LONG = "head of a long secret " + "and its middle " * 20 + "its tail, input_type=str] that nobody sees"
PARTS = ("head", "middle", "tail", "nobody", "canary")


def redactor(*payload: Any, shown: Any = None) -> Redactor:
    return Redactor(json.dumps(payload).encode(), None if shown is None else json.dumps(shown).encode(), frozenset())


class Strange:
    """Writes itself over several lines."""

    def __repr__(self) -> str:
        return f"Strange(\n{LONG}\n{LONG})"


class Form(BaseModel):
    number: int = 0
    name: dict[str, int] = {}


def form_error(**wrong: Any) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        Form.model_validate(wrong)
    return caught.value


WRAPPED: dict[str, Callable[[ValidationError], Exception]] = {
    "itself": lambda error: error,
    "in a sentence": lambda error: RuntimeError(f"no: {error}"),
    "its repr": lambda error: RuntimeError(repr(str(error))),
    "its JSON": lambda error: RuntimeError(error.json()),
    "its list": lambda error: RuntimeError(error.errors()),
}


@pytest.mark.parametrize("value", [LONG, [LONG], {LONG: 1}, {"a": {"b": LONG}}, Strange(), LONG.encode(), "x\n" + LONG])
@pytest.mark.parametrize("wrap", [name for name in WRAPPED if name not in ("its JSON", "its list")])
def test_pydantics_own_error_shows_no_part_of_a_value_that_it_cuts(wrap: str, value: Any) -> None:
    made = redactor(LONG, "x\n" + LONG)
    for error in (form_error(number=value), form_error(name={"x": value}), form_error(number=value, name=[value])):
        _, message = redact_exception(WRAPPED[wrap](error), made)
        assert not [part for part in PARTS if part in message]
        assert "***" in message


@pytest.mark.parametrize("wrap", list(WRAPPED))
def test_pydantics_own_error_shows_no_text_in_any_wrapping(wrap: str) -> None:
    _, message = redact_exception(WRAPPED[wrap](form_error(number=LONG)), redactor(LONG))
    assert not [part for part in PARTS if part in message]


def test_pydantics_own_error_still_says_where_and_why() -> None:
    _, message = redact_exception(form_error(number=LONG, name=3), redactor(LONG))
    assert "number\n  Input should be a valid integer" in message
    assert "input_value=***, input_type=str]" in message
    assert "name\n  Input should be a valid dictionary" in message
    assert "input_value=***, input_type=int]" in message


def test_the_beginning_of_a_truncated_long_value_is_replaced() -> None:
    with pytest.raises(ValueError, match="head of a long") as caught:
        int(LONG)
    error = caught.value
    for raised in (error, RuntimeError(repr(error)), RuntimeError(b64encode(f"{error}".encode()))):
        _, message = redact_exception(raised, redactor(LONG, "head of another value", "head"))
        assert "***" in message
        assert not [part for part in PARTS if part in message]
    assert redactor(LONG).redact(f"{LONG[:40]}...") == "***..."


def test_a_short_beginning_of_a_value_is_left_alone() -> None:
    assert redactor(LONG).redact("the head of a long secret ") == "the head of a long secret "


@pytest.mark.parametrize(
    "values",
    [
        ["a" * (1 << 20)],
        ["a" * n for n in range(4, 1_400)],
        [f"{'a' * 40}{n}" for n in range(22_000)],
        [CANARY * 9_000],
    ],
    ids=["one", "prefixes", "alike", "periodic"],
)
@pytest.mark.parametrize("text", ["a" * 100_000, ("a" * 39 + "b") * 400, CANARY * 4_000], ids=["a", "nearly", "canary"])
def test_a_text_of_many_beginnings_is_redacted_within_a_second(values: list[str], text: str) -> None:
    made = redactor(*values)
    started = process_time()
    made.redact(text)
    assert process_time() - started < 1


@settings(max_examples=150, deadline=None)
@given(st.text("abc", min_size=40, max_size=80), st.integers(32, 80), st.text("xyz ", max_size=9))
def test_no_long_beginning_survives(value: str, size: int, around: str) -> None:
    assert value[:size] not in redactor(value).redact(f"{around}{value[:size]}...{around}")


CONTEXTS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "literal_error": lambda value: {"expected": value},
    "enum": lambda value: {"expected": f"'{value}' or 'red'"},
    "string_pattern_mismatch": lambda value: {"pattern": value},
    "greater_than": lambda _: {"gt": CARD},
    "too_long": lambda _: {"field_type": "List", "max_length": CARD, "actual_length": CARD},
    "url_scheme": lambda value: {"expected_schemes": value},
    "is_instance_of": lambda value: {"class": value},
    "date_parsing": lambda value: {"error": value},
    "model_type": lambda value: {"class_name": value},
    "union_tag_not_found": lambda value: {"discriminator": value},
}


def _known(code: Any, value: str) -> Exception:
    return PydanticKnownError(code, CONTEXTS[code](value))


def _custom(code: Any, value: str) -> Exception:
    return PydanticCustomError(code, "it is {value}", {**CONTEXTS[code](value), "value": value})


@pytest.mark.parametrize("make", [_known, _custom])
@pytest.mark.parametrize("code", list(CONTEXTS))
def test_a_value_that_a_validator_puts_into_one_of_pydantics_errors_is_not_quoted(
    code: str, make: Callable[[Any, str], Exception]
) -> None:
    def check(value: str) -> str:
        raise make(code, value)

    class Checked(BaseModel):
        name: Annotated[str, BeforeValidator(check)]

    with pytest.raises(InvalidPayload, match=r"name: ") as caught:
        PayloadType[Checked](Checked, "order.placed", 1_000).encode({"name": CANARY})
    assert caught.value.__context__ is None
    assert CANARY not in str(caught.value)
    assert str(CARD) not in str(caught.value)


class Limits(BaseModel):
    count: Annotated[int, Field(gt=1_000_000)] = 1_000_001
    pattern: Annotated[str, Field(pattern=r"^\d+\.x$")] = "1.x"
    short: Annotated[str, Field(max_length=3)] = ""


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("count", 7, "count: Input should be greater than 1000000"),
        ("pattern", CANARY, r"pattern: String should match pattern '^\d+\.x$'"),
        ("short", CANARY, "short: String should have at most 3 characters"),
    ],
)
def test_limits_of_the_declaration_are_still_told(field: str, value: Any, why: str) -> None:
    with pytest.raises(InvalidPayload) as caught:
        PayloadType[Limits](Limits, "order.placed", 1_000).encode({field: value})
    assert str(caught.value) == f"order.placed: the payload does not fit: {why}"


def test_an_async_sanitiser_is_refused_in_every_shape() -> None:
    async def sanitise(form: Form) -> Mapping[str, Any]:
        return {"number": form.number}

    class Sanitise:
        async def __call__(self, form: Form) -> Mapping[str, Any]:
            return {"number": form.number}

    for function in (sanitise, partial(sanitise), Sanitise()):
        with pytest.raises(DeclarationError, match="async"):
            Sanitizer(PayloadType[Form](Form, "order.placed", 1_000), function)
