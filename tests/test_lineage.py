"""What an event carries of those before it: written by us, read from anybody."""

from __future__ import annotations

import json
import string
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oxherd.bullmq.options import options_of, parse_options, without_metadata
from oxherd.lineage import Lineage, TraceContext, parse_lineage

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
FIRST, SECOND = "0198a0f0-0000-7000-8000-000000000001", "0198a0f0-0000-7000-8000-000000000002"


@pytest.mark.parametrize("trace", [None, TraceContext(PARENT), TraceContext(PARENT, 'rojo=00f067aa0ba902b7,a@b="\\')])
@pytest.mark.parametrize("causes", [(None, None), (SECOND, FIRST)])
def test_what_is_written_is_read_again(causes: tuple[str | None, str | None], trace: TraceContext | None) -> None:
    lineage = Lineage(*causes, trace)
    assert parse_lineage(lineage.to_json()) == lineage
    assert lineage.to_json() == "" or isinstance(json.loads(lineage.to_json()), dict)


def test_an_event_without_parent_and_trace_carries_nothing() -> None:
    assert Lineage().to_json() == ""


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "secret",
        PARENT.upper(),
        PARENT + "-00",
        PARENT + "\n",
        "ff" + PARENT[2:],
        "00-" + "0" * 32 + PARENT[35:],
        PARENT[:36] + "0" * 16 + "-01",
        "01" + PARENT[2:] + "x",
        7,
        None,
        [PARENT],
    ],
)
def test_a_trace_that_is_none_by_the_grammar_of_w3c_is_left_out(parent: Any) -> None:
    assert parse_lineage(json.dumps({"traceparent": parent, "tracestate": "a=b"})) == Lineage()


def test_a_later_version_is_read_as_far_as_this_one_goes() -> None:
    assert parse_lineage(json.dumps({"traceparent": "cc" + PARENT[2:] + "-what-else"})).trace == TraceContext(PARENT)
    assert parse_lineage(json.dumps({"traceparent": "01" + PARENT[2:]})).trace == TraceContext(PARENT)


@pytest.mark.parametrize(
    "state", ["A=b", "a=b=c", "=b", "a=", "a=b,,\N{SNOWMAN}=1", "a=b\n", "a=" + "x" * 600, ",".join(["a=b"] * 33), 5]
)
def test_a_malformed_state_is_left_out_and_the_trace_goes_on(state: Any) -> None:
    assert parse_lineage(json.dumps({"traceparent": PARENT, "tracestate": state})).trace == TraceContext(PARENT)


@pytest.mark.parametrize("uuid", ["", "secret", FIRST.upper(), FIRST + "\n", FIRST.replace("-", ""), 7, None, {}])
def test_a_cause_that_is_no_uuid_is_left_out_with_its_root(uuid: Any) -> None:
    assert parse_lineage(json.dumps({"oxherd.caused_by": uuid, "oxherd.root": FIRST})) == Lineage()
    assert parse_lineage(json.dumps({"oxherd.caused_by": FIRST, "oxherd.root": uuid})) == Lineage()


def test_what_else_a_map_says_is_not_read() -> None:
    text = json.dumps({"baggage": "card=4111", "traceparent": PARENT, "oxherd.caused_by": SECOND, "oxherd.root": FIRST})
    assert parse_lineage(text) == Lineage(SECOND, FIRST, TraceContext(PARENT))


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner)).map(json.dumps))
def test_no_text_is_an_error(text: str) -> None:
    assert parse_lineage(text) == Lineage()


def test_a_map_that_is_too_long_is_not_looked_at() -> None:
    assert parse_lineage(json.dumps({"traceparent": PARENT, "x": "y" * 5000})) == Lineage()


NAMES = st.sampled_from(["attempts", "tm", "t", "a,", "omc"]) | st.text(max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet=string.printable + '"\\', max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(NAMES.filter(lambda name: name != "tm"), VALUES, max_size=4), st.text(), st.booleans())
def test_metadata_is_taken_out_of_any_options_and_the_rest_is_what_it_was(
    options: dict[str, Any], metadata: str, first: bool
) -> None:
    ordered = {"tm": metadata, **options} if first else {**options, "tm": metadata}
    for separators in ((",", ":"), (", ", ": ")):
        rest, found = without_metadata(json.dumps(ordered, separators=separators).encode())
        if '"tm"' not in json.dumps(options):
            assert found == metadata
        assert {k: v for k, v in parse_options(rest).raw.items() if "tm" not in json.dumps({k: v})} == {
            k: v for k, v in options.items() if "tm" not in json.dumps({k: v})
        }


def test_jobs_that_differ_in_their_metadata_only_have_the_same_options() -> None:
    texts = {without_metadata(b'{"attempts":3,"tm":"%s"}' % word)[0] for word in (b"one", b'\\"two\\"', b"")}
    assert len(texts) == 1
    assert parse_options(texts.pop()).raw == {"attempts": 3}


@pytest.mark.parametrize("value", [b"7", b"null", b'{"a":1}', b'"\\x"'])
def test_metadata_that_is_no_text_damages_nothing(value: bytes) -> None:
    rest, metadata = without_metadata(b'{"attempts":3,"tm":%s}' % value)
    assert (metadata, parse_options(rest).raw, parse_options(rest).damaged) == ("", {"attempts": 3}, False)


def lineage_of(raw: bytes) -> Lineage:
    return parse_lineage(without_metadata(raw)[1])


@given(st.lists(st.tuples(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 9)), min_size=2))
def test_jobs_that_differ_in_their_trace_only_have_each_their_own(places: list[tuple[int, int, int]]) -> None:
    for trace, span, attempts in places:
        parent = f"00-{trace:032x}-{span:016x}-{attempts:02x}"
        caused_by = str(UUID(int=trace)) if attempts % 2 else None
        lineage = Lineage(caused_by, caused_by, TraceContext(parent) if attempts % 3 else None)
        if lineage == Lineage():
            continue
        options = {"attempts": attempts, "tm": lineage.to_json(), "removeOnComplete": True}
        parsed, found = options_of(json.dumps(options, separators=(",", ":")).encode())
        assert (parsed.raw, found) == ({"attempts": attempts, "removeOnComplete": True}, lineage)


@given(st.sampled_from([None, PARENT]), st.booleans(), st.data())
def test_the_quick_way_of_reading_says_what_the_other_says(
    parent: str | None, caused: bool, data: st.DataObject
) -> None:
    text = Lineage(
        SECOND if caused else None, FIRST if caused else None, TraceContext(parent) if parent else None
    ).to_json()
    before = text
    if text:
        # One character changed: whoever reads it, it says the same as with a blank that only the slow way bears.
        at = data.draw(st.integers(0, len(text) - 1))
        text = text[:at] + data.draw(st.sampled_from('0fg"{},: \\') | st.just(text[at])) + text[at + 1 :]
    assert parse_lineage(text) == parse_lineage(f"{text} ")
    at = data.draw(st.integers(0, 200))
    byte = data.draw(st.sampled_from([b'"', b"\\", b"\x00", b"\xff", b"-", b"g", b"A", b"_"]))
    for names in (("attempts", "tm"), ("tm", "attempts")):
        # The one before has the same options and, mostly, a metadata of the same length.
        last, raw = (
            json.dumps({name: {"attempts": 3, "tm": each}[name] for name in names}, separators=(",", ":")).encode()
            for each in (before, text)
        )
        options_of(last)
        options, found = options_of(raw)
        assert (options, found) == (parse_options(without_metadata(raw)[0]), parse_lineage(text))
        # Any byte changed, of options that are JSON or of some that are none any more.
        changed = raw[:at] + byte + raw[at + 1 :]
        options, found = options_of(changed)
        assert (options, found) == (parse_options(without_metadata(changed)[0]), lineage_of(changed))
