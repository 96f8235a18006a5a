"""Values that the log withholds are redacted from error messages, however they are encoded."""

from __future__ import annotations

import base64
import json
import pprint
import time
import traceback
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from oxherd.privacy.error_text import NO_TEXT, redact_exception
from oxherd.privacy.redaction import UNREADABLE, WITHHELD, Redactor
from oxherd.privacy.stack import exception_stack

CANARY = "kanarie7391"


def redactor(payload: Any, shown: Any = None, names: frozenset[str] = frozenset()) -> Redactor:
    return Redactor(to_json(payload), None if shown is None else to_json(shown), names)


def redacted(text: str, payload: Any, shown: Any = None, names: frozenset[str] = frozenset()) -> str:
    return redactor(payload, shown, names).redact(text)


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


ENCODINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "repr": repr,
    "ascii": ascii,
    "bytes": lambda text: repr(text.encode()),
    "JSON, ASCII only": json.dumps,
    "JSON": lambda text: json.dumps(text, ensure_ascii=False),
    "JSON in repr": lambda text: repr(json.dumps({"a": text})),
    "JSON in JSON": lambda text: json.dumps(json.dumps({"a": text})),
    "quote": quote,
    "quote all": lambda text: quote(text, safe=""),
    "quote_plus": quote_plus,
    "a form": lambda text: urlencode({"a": text}),
    "base64": b64,
    "base64 without padding": lambda text: b64(text).rstrip("="),
    "urlsafe base64": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "base64 at the second place": lambda text: b64("?" + text + "???"),
    "base64 at the third place": lambda text: b64("??" + text + "???"),
    "base64 behind a path": lambda text: "https://host/path/" + b64(text),
    "base64 behind a word": lambda text: "v-" + b64(text),
    "JSON in base64": lambda text: b64(json.dumps({"a": text})),
    "base64 in a URL": lambda text: quote(b64(text), safe=""),
    "JSON in a URL": lambda text: quote(json.dumps({"a": text})),
}

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=4, max_size=40).filter(
    lambda text: len(text.strip()) >= 4
)


class TestRedact:
    @pytest.mark.parametrize("encoding", ENCODINGS)
    @pytest.mark.parametrize("value", [CANARY, 'O\'Brien "é" \n\\x', "日本語テキスト", "a b+c/d%41", "😀😀😀😀 ok"])
    def test_a_withheld_text_is_replaced_in_every_encoding(self, encoding: str, value: str) -> None:
        text = f"cannot use {ENCODINGS[encoding](value)}, sorry"
        result = redacted(text, {"a": [value]}, names=frozenset({"a"}))
        assert result.startswith("cannot use ")
        assert result.endswith(", sorry")
        assert "***" in result
        for form in (str, json.dumps, quote, b64):
            assert form(value).strip('"=') not in result

    @settings(max_examples=300)
    @given(TEXTS, st.sampled_from(list(ENCODINGS)), st.text(max_size=8), st.text(max_size=8))
    def test_any_text_is_replaced_in_every_encoding(self, value: str, encoding: str, before: str, after: str) -> None:
        encoded = ENCODINGS[encoding](value)
        result = redacted(f"{before} {encoded} {after}", {"a": value}, names=frozenset({"a"}))
        assume(encoded.strip() not in f"{before} {after}")
        assert "***" in result
        assert encoded.strip("'\"") not in result.replace("***", "")

    @settings(max_examples=200)
    @given(
        st.recursive(
            st.just(CANARY) | st.integers() | st.none() | st.text(max_size=6),
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
        ),
        st.sampled_from(list(ENCODINGS)),
    )
    def test_no_canary_survives_in_any_payload(self, payload: Any, encoding: str) -> None:
        payload = json.loads(json.dumps([payload, CANARY]).encode("ascii", "replace"))
        raw = json.dumps(payload).encode()
        text = f"failed on {ENCODINGS[encoding](json.dumps(payload))} and {ENCODINGS[encoding](CANARY)}"
        result = Redactor(raw, None, frozenset()).redact(text)
        assert CANARY not in result
        for part in result.split():
            for start in range(4):
                run = part[start:].rstrip("=")
                try:
                    decoded = base64.b64decode(run + "=" * (-len(run) % 4))
                except ValueError:
                    continue
                assert CANARY.encode() not in decoded

    @given(st.integers(min_value=10**5))
    def test_a_number_of_six_digits_is_replaced(self, number: int) -> None:
        for text in (str(number), f"{-number}", f"{number:,}", f"{number:_}", b64(f'{{"a":{number}}}'), f"x{number}y"):
            result = redacted(f"refused {text} here", {"a": number}, names=frozenset({"a"}))
            assert result.startswith("refused ")
            assert "***" in result
            assert str(number) not in result

    @pytest.mark.parametrize(
        ("payload", "text"),
        [
            (b"12345.60", "12345.6 12345.60"),
            (b"1e6", "1000000 1000000.0"),
            (b"-0.000123", "0.000123 -0.000123"),
            (b"1234567.0", "1234567 1234567.0"),
        ],
    )
    def test_a_decimal_number_is_replaced_as_python_writes_it_too(self, payload: bytes, text: str) -> None:
        result = Redactor(payload, None, frozenset()).redact(f"refused {text} here")
        assert not any(character in result for character in "123456")

    def test_short_values_stay(self) -> None:
        text = "abc 12345 1.5 True None"
        assert redacted(text, {"a": "abc", "b": 12345, "c": 1.5, "d": True, "e": None}) == text

    def test_a_text_that_is_also_a_short_number_is_replaced(self) -> None:
        assert redacted("code 12345", {"a": 12345, "b": "12345"}) == "code ***"

    def test_only_what_is_withheld_is_replaced(self) -> None:
        payload = {"order_id": 1234567, "email": "alice@example.com", "town": "Utrecht"}
        shown = {"order_id": 1234567, "email": "a***@***", "town": "Utrecht"}
        text = "order 1234567 of alice@example.com in Utrecht"
        names = frozenset(payload)
        assert redacted(text, payload, shown, names) == "order 1234567 of *** in Utrecht"
        assert redacted(text, payload, None, names) == "order *** of *** in ***"

    def test_a_text_within_a_shown_text_or_key_is_shown(self) -> None:
        text = "Utrecht 1234567 abcd"
        assert redacted(text, ["Utrecht", 1234567, "abcd"], {"abcd": "in Utrecht, 1234567"}) == "Utrecht *** abcd"
        assert redacted(text, ["Utrecht", 1234567], ["Utrecht", "1234567"]) == text

    def test_a_withheld_text_that_contains_a_shown_one_is_replaced(self) -> None:
        assert redacted("in Utrecht-West", {"a": "Utrecht", "b": "Utrecht-West"}, ["Utrecht"]) == "in ***"

    def test_undeclared_keys_are_data(self) -> None:
        payload = {"accounts": {CANARY: 1, "accounts": 2}}
        assert redacted(f"accounts {CANARY}", payload, names=frozenset({"accounts"})) == "accounts ***"

    def test_overlapping_values_are_replaced_together(self) -> None:
        assert redacted("abcdefgh!", ["abcdef", "defgh", "cdef"]) == "***!"

    def test_lines_are_found_in_the_indented_traceback_of_an_exception_group(self) -> None:
        value = "Zoe Kaur\n5 Elm \nLeeds 4"
        group = ExceptionGroup(
            "batch", [ValueError(value), ExceptionGroup("inner", [KeyError("x"), ValueError(value)])]
        )
        result = redacted("".join(traceback.format_exception(group)), {"a": value}, names=frozenset({"a"}))
        assert "ValueError: ***" in result
        assert not [part for part in ("Zoe", "Kaur", "Elm", "Leeds") if part in result], result

    @pytest.mark.parametrize("broken", ["\n", "\r\n", "\n    ", "\n  | "], ids=repr)
    @pytest.mark.parametrize("width", [64, 76])
    def test_base64_that_is_wrapped_into_lines_is_found(self, broken: str, width: int) -> None:
        payload = {"name": CANARY * 3, "rest": "x" * 90, "more": [CANARY]}
        encoded = b64(json.dumps(payload))
        lines = [encoded[first : first + width] for first in range(0, len(encoded), width)]
        result = redacted(f"refused:\n{broken.join(lines)}", payload)
        for line in lines:
            assert b64(CANARY)[2:-3] not in line or line not in result
        assert CANARY.encode() not in base64.b64decode("".join(result.partition(":")[2].split()) + "==", validate=False)

    @pytest.mark.parametrize(
        "forms",
        [
            ["+33 6 12 34 56 78", "+33612345678", "33612345678", "33-6-12-34-56-78", "+33 (6) 12345678"],
            ["(030) 1234-567", "0301234567", "030/1234567", "301234567"],
            ["DE89 3704 0044 0532 0130 77", "DE89370400440532013077", "DE89-3704-0044-0532-0130-77"],
            ["GB29 NWBK 6016 1331 9268 19", "GB29NWBK60161331926819"],
        ],
        ids=lambda forms: forms[0],
    )
    def test_an_account_or_telephone_number_is_found_however_it_is_grouped(self, forms: list[str]) -> None:
        for value in forms[:3]:
            for text in forms[:3]:
                result = redacted(f"refused {text}.", {"a": value}, names=frozenset({"a"}))
                assert not any(map(str.isdigit, result)), (value, text, result)

    @pytest.mark.parametrize(
        ("before", "value"),
        [
            ("CORP\\", "nathan.canary"),
            ("C:\\Users\\", "robert.canary"),
            ("LIKE '%", "4012888888881881"),
            ("%5C", "tomcanary"),
        ],
    )
    def test_a_value_behind_what_might_be_an_escape_is_replaced(self, before: str, value: str) -> None:
        for escaped in (str, json.dumps, repr):
            text = escaped(f"{before}{value}%' failed")
            assert redacted(text, [value]) == text.replace(value, "***")

    @pytest.mark.parametrize("width", range(2, 30))
    def test_a_line_broken_within_an_escape_hides_nothing(self, width: int) -> None:
        value = "12 Canary Street\nFlat 4\n\tParisville"
        for text in (json.dumps(value), quote(value)):
            wrapped = "\n".join(text[at : at + width] for at in range(0, len(text), width))
            assert not any(map(str.isalnum, redacted(wrapped, [value])))
        printed = redacted(pprint.pformat(json.dumps(value).encode(), width=width), [value])
        assert not any(map(str.isalnum, printed.replace("b'", "")))

    def test_space_around_a_text_does_not_hide_it(self) -> None:
        assert redacted(f"bad {CANARY}", {"a": f"  {CANARY} "}) == "bad ***"

    @pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe\x00", b"kanarie", b"[" * 100_000])
    def test_a_payload_that_cannot_be_read_withholds_the_whole_text(self, raw: bytes) -> None:
        assert Redactor(raw, None, frozenset()).redact("anything") == UNREADABLE

    def test_shown_json_that_cannot_be_read_withholds_the_whole_text(self) -> None:
        assert Redactor(b'"abcd"', b"{", frozenset()).redact("abcd") == UNREADABLE

    @given(st.text(), TEXTS)
    @example("", CANARY)
    @example("\ud800 \\ud800 \\U00110000 %ff %c3 \\xff \\", CANARY)
    def test_a_text_that_holds_nothing_withheld_stays_as_it_is(self, text: str, value: str) -> None:
        assume(value[:1] not in text and not any(mark in text for mark in "\\%+"))
        payload = {"a": "\u2603" + value}
        assume("\u2603" not in text)
        assert redacted(text, payload) == text

    def test_a_long_text_is_cut_and_a_value_broken_by_the_cut_is_replaced(self) -> None:
        for value in ("x" * 100_000, CANARY * 3000):
            for text in (value, repr(value), b64(value), f"{'word ' * 1599}{value}", quote(value + " é")):
                result = redacted(text, {"a": value}, names=frozenset({"a"}))
                assert result.endswith("...")
                assert "xxxx" not in result
                assert "kanarie" not in result
                assert len(result.replace("word ", "")) < 20

    @pytest.mark.parametrize(
        ("payload", "text"),
        [
            (["Anna" + " " * 1_000_000], "Anna " * 1_600),
            (["A-nna" + " " * 1_000_000], "A nna A-nna " * 700),
            (["\N{PARTY POPPER}" * 200_000], json.dumps("\N{PARTY POPPER}") * 700),
            ([chr(0x4E00 + n % 999) * 64 + str(n) for n in range(5_000)], "x"),
            (["é" * 150 + chr(0x4E00 + n) for n in range(200)], "é" * 150 + " " + "é" * 8_000),
        ],
    )
    def test_values_that_are_costly_to_compare_take_bounded_time(self, payload: list[str], text: str) -> None:
        began = time.thread_time()
        redacted(text, payload)
        assert time.thread_time() - began < 0.4

    @pytest.mark.parametrize(
        "payload",
        [
            [f"{n:05x}" for n in range(130_000)],
            [f"user-{n}" for n in range(90_000)],
            [1_000_000 + n for n in range(110_000)],
            ["x" * 1_000_000],
            ["a" * n for n in range(4, 1_400)],
            ["a" * n + "b" for n in range(4, 1_400)],
        ],
    )
    def test_a_payload_of_a_mebibyte_is_redacted_in_bounded_time(self, payload: list[Any]) -> None:
        began = time.process_time()
        result = redacted(f"refused {payload}", payload)
        assert time.process_time() - began < 2
        assert result == WITHHELD or result.startswith("refused ")


class Handled(BaseModel):
    amount: int


class TestRedactException:
    def test_the_type_and_the_redacted_message_are_given(self) -> None:
        made = redactor({"a": CANARY})
        assert redact_exception(KeyError(CANARY), made) == ("KeyError", "'***'")

    def test_an_error_whose_str_raises_has_a_fixed_text(self) -> None:
        class Mute(Exception):
            def __str__(self) -> str:
                raise RuntimeError(CANARY)

        assert redact_exception(Mute(), redactor({"a": CANARY})) == ("Mute", NO_TEXT)

    def test_a_message_is_cut_after_it_is_redacted(self) -> None:
        kind, message = redact_exception(ValueError("-" * 1_995 + CANARY + "-" * 100), redactor([CANARY]))
        assert kind == "ValueError"
        assert message == "-" * 1_995 + "***--"

    def test_values_that_pydantic_shortens_are_replaced(self) -> None:
        long = "kanarie" + "x" * 200 + "7391"
        for value in (long, {"deep": [long], "y": "a, input_type=b kanarie"}):
            with pytest.raises(ValidationError) as caught:
                Handled(amount=value)  # pyright: ignore[reportArgumentType]  # that is the test
            _, message = redact_exception(caught.value, redactor({"amount": value}))
            assert "Input should be a valid" in message
            assert "kanarie" not in message
            assert "7391" not in message

    def test_the_stack_is_files_lines_and_functions_innermost_last(self) -> None:
        def inner(secret: str) -> None:
            raise ValueError(secret)

        with pytest.raises(ValueError, match=CANARY) as caught:
            inner(CANARY)
        frames = exception_stack(caught.value)
        assert frames[-1].partition(":")[0].endswith("test_redaction.py")
        assert frames[-1].endswith(" inner")
        assert frames[0].endswith(" test_the_stack_is_files_lines_and_functions_innermost_last")
        assert CANARY not in "".join(frames)

    def test_an_error_that_was_never_raised_has_no_stack(self) -> None:
        assert exception_stack(ValueError()) == []


def test_a_message_with_lone_surrogates_can_be_encoded() -> None:
    made = Redactor(b'["se\\ud800cret"]', None, frozenset())
    _, message = redact_exception(OSError("no file caf\udce9, nor se\ud800cret"), made)
    assert message == "no file caf\\udce9, nor ***"
    message.encode()


def test_what_the_log_shows_in_a_longer_text_is_not_withheld_where_it_is_written_otherwise() -> None:
    payload = b'{"body": {"repositories_added": []}, "summary": "repositories added"}'
    redactor = Redactor(payload, b'{"summary": "repositories added"}', frozenset({"body", "summary"}))
    assert redactor.redact("processed: repositories added") == "processed: repositories added"


@pytest.mark.parametrize(
    "value",
    [
        "[" * 64 + "canary 7f3a91c2",
        "[ " * 100 + "a" + "[" * 70 + "canary 7f3a91c2",
        "abcd" + "-" * 60 + "canary 7f3a91c2",
        "." * 5000 + "canary 7f3a91c2",
        "\\" * 70 + "canary 7f3a91c2",
    ],
    ids=["brackets", "one letter", "one word", "a long row", "backslashes"],
)
def test_a_value_that_begins_with_few_letters_is_withheld_to_its_end(value: str) -> None:
    redactor = Redactor(json.dumps(value).encode(), None, frozenset())
    for text in (value, repr(value), json.dumps(value), f"x {value} y"):
        assert "canary" not in redactor.redact(text)


@pytest.mark.parametrize("value", ["." * 7000, "." * 7000 + "canary", "Anna" + " " * 1_000_000])
def test_a_value_of_hardly_any_letter_takes_bounded_time(value: str) -> None:
    redactor = Redactor(json.dumps(value).encode(), None, frozenset())
    began = time.thread_time()
    redactor.redact(value[:8000] + " Anna" * 1600)
    assert time.thread_time() - began < 0.4
