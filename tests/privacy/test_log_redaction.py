"""Log records that handlers make are redacted, in every part."""

from __future__ import annotations

import functools
import gc
import json
import logging
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oxherd.context import Context, ContextFilter, current
from oxherd.privacy.redaction import Privacy
from oxherd.telemetry.logs.console_formatter import ConsoleFormatter
from oxherd.telemetry.logs.json_formatter import JSONFormatter

SECRET = "kanarie/7391?x"
CARD = 4111111111111111
PAYLOAD = {"order_id": 1, "secret": SECRET, "card": CARD, "seen": "may be seen"}
SHOWN = b'{"order_id":1,"seen":"may be seen"}'
FORMATTERS = (JSONFormatter(), ConsoleFormatter(colour=False), logging.Formatter("%(message)s %(extra)s"))
ENCODED = (
    SECRET,
    str(CARD),
    quote(SECRET),
    b64encode(SECRET.encode()).decode(),
    json.dumps(SECRET)[1:-1],
    repr(SECRET),
)


class Order:
    """Shows itself in each way."""

    def __init__(self, secret: str = SECRET) -> None:
        self.secret = secret

    def __repr__(self) -> str:
        return f"Order({self.secret!r})"


class Discreet(Order):
    """Hides itself, but for its repr."""

    def __str__(self) -> str:
        return "an order %s"


class Unprintable:
    def __str__(self) -> str:
        raise ValueError(SECRET)

    __repr__ = __str__


@contextmanager
def handling() -> Generator[Context]:
    context = Context(event_id="01a20cdd-4493-70c3-9fca-7d0646652bab", event="order.placed", emitted_ms=0)
    context.withheld = (json.dumps(PAYLOAD).encode(), SHOWN, Privacy(frozenset(PAYLOAD), True, None))
    token = current.set(context)
    try:
        yield context
    finally:
        current.reset(token)


def record(message: Any, *args: Any, extra: Any = None, exc_info: Any = None, sinfo: str | None = None) -> Any:
    made = logging.LogRecord("shop", logging.INFO, "shop.py", 7, message, args, exc_info, "charge", sinfo)
    made.extra = extra
    return made


def lines(made: logging.LogRecord) -> list[str]:
    """The record in every format, and all that hangs on it."""
    with handling():
        assert ContextFilter().filter(made)
    return [formatter.format(made) for formatter in FORMATTERS] + [repr(vars(made))]


def raised(error: BaseException) -> Any:
    try:
        raise error
    except BaseException:  # noqa: BLE001 - that is what is logged
        return sys.exc_info()


def chained() -> BaseException:
    try:
        try:
            raise KeyError(SECRET)
        except KeyError:
            raise ValueError(f"no {CARD}") from RuntimeError(b64encode(SECRET.encode()))
    except ValueError as error:
        error.add_note(f"see {quote(SECRET)}")
        return ExceptionGroup("some", [error, OSError(2, "no such file", SECRET)])


LEAKS: dict[str, Any] = {
    "its text": lambda: record(f"charging {SECRET} with {CARD}"),
    "its arguments": lambda: record("charging %s with %d", SECRET, CARD),
    "an object": lambda: record("charging %s", Order()),
    "an object alone": lambda: record(Order()),
    "an object whose text hides what its repr shows": lambda: record(Discreet(), Discreet()),
    "base64": lambda: record("token %s", b64encode(SECRET.encode()).decode()),
    "a URL": lambda: record("GET /pay?%s", quote(SECRET)),
    "JSON": lambda: record("sent %s", json.dumps(PAYLOAD)),
    "extra text": lambda: record("charging", extra=SECRET),
    "an extra number": lambda: record("charging", extra=CARD),
    "nested extras": lambda: record("charging", extra={"order": [{"a": {SECRET: 1}}, (1, SECRET)], "card": CARD}),
    "extra objects": lambda: record("charging", extra=[Order(), {"x": Order()}]),
    "an extra object": lambda: record("charging", extra=Order()),
    "bytes": lambda: record("charging", extra=SECRET.encode()),
    "arguments that do not fit": lambda: record("charging %d", SECRET),
    "arguments that cannot be written": lambda: record("charging %s", Unprintable()),
    "extras that cannot be written": lambda: record("charging", extra={"x": Unprintable()}),
    "an error": lambda: record("failed", exc_info=raised(ValueError(SECRET))),
    "an error's causes, context, notes and group": lambda: record("failed", exc_info=raised(chained())),
    "an error that cannot be written": lambda: record("failed", exc_info=raised(ValueError(Unprintable()))),
    "a stack": lambda: record("here", sinfo=f"Stack\n  {SECRET}"),
    "the names of extras": lambda: logging.makeLogRecord(
        {"msg": "charging", "extra": 0, SECRET: 1, f"{SECRET} again": 2}
    ),
    "structlog's fields": lambda: record({"event": "charging", "order": {"secret": SECRET}, "card": CARD}),
    "structlog's error": lambda: record({"event": "failed", "exc_info": chained()}),
}


@pytest.mark.parametrize("what", LEAKS)
def test_no_withheld_value_is_left_in_any_part_of_a_record(what: str) -> None:
    for line in lines(LEAKS[what]()):
        for encoded in ENCODED:
            assert encoded not in line


def test_extras_whose_names_are_redacted_alike_are_all_kept() -> None:
    made = record("charging", extra={SECRET: 1, str(CARD): 2, "***": 3})
    vars(made)[SECRET] = 4
    lines(made)
    assert made.extra == {"***": 1, "*** 2": 2, "*** 3": 3}
    assert vars(made)["***"] == 4


def test_a_message_cached_by_another_formatter_is_redacted() -> None:
    made = record("charging %s", SECRET, exc_info=raised(ValueError(SECRET)))
    assert SECRET in logging.Formatter().format(made)
    assert not [line for line in lines(made) if SECRET in line]


def test_the_rest_of_a_record_is_unchanged() -> None:
    extra = {"n": 12, "ok": True, "none": None, "seen": "may be seen", "list": [1.5, ("a", "b")], "order": 1}
    made = record("order %d of %s", 1, "may be seen", extra=extra)
    as_json = lines(made)[0]
    assert json.loads(as_json)["msg"] == "order 1 of may be seen"
    assert made.extra == extra
    assert json.loads(as_json)["event_id"] == "01a20cdd-4493-70c3-9fca-7d0646652bab"


def test_a_traceback_says_where_and_what_as_text() -> None:
    made = record("failed", exc_info=raised(ValueError(f"card {CARD} was declined")))
    as_json = json.loads(lines(made)[0])
    assert made.exc_info is None
    assert as_json["exception"].startswith("Traceback (most recent call last):\n")
    assert "in raised" in as_json["exception"]
    assert as_json["exception"].endswith("ValueError: card *** was declined")


def test_a_long_traceback_keeps_its_end() -> None:
    def deep(depth: int, pad: str) -> None:
        if depth:
            deep_too(depth - 1, pad)
        raise ValueError(f"card {CARD} was declined")

    def deep_too(depth: int, pad: str) -> None:
        deep(depth, pad)

    with pytest.raises(ValueError, match="declined") as caught:
        deep(60, "x")
    text = json.loads(lines(record("failed", exc_info=(ValueError, caught.value, caught.tb)))[0])["exception"]
    assert text.endswith("ValueError: card *** was declined")
    assert text.count("  File ") == 30


def test_records_outside_a_handler_are_unchanged() -> None:
    error = raised(ValueError(SECRET))
    made = record("charging %s", SECRET, exc_info=error)
    assert ContextFilter().filter(made)
    assert (made.args, made.exc_info) == ((SECRET,), error)
    assert not hasattr(made, "event_id")


def test_a_record_that_holds_itself_ends() -> None:
    endless: list[Any] = [SECRET]
    endless.append(endless)
    for line in lines(record("endless", extra={"x": endless, "many": [SECRET] * 5_000})):
        assert SECRET not in line


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(ENCODED) | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.sampled_from(ENCODED), inner, max_size=3)
    ),
)


@given(_VALUES, st.text())
def test_no_shape_of_extras_gets_a_value_through(value: Any, text: str) -> None:
    for line in lines(record("%s and %s", text, value, extra=value)):
        assert SECRET not in line
        assert str(CARD) not in line


# -- what is withheld from which part


@contextmanager
def handling_undeclared(sealed: Callable[[Any], bool] | None = None) -> Generator[None]:
    context = Context(event_id="01a20cdd-4493-70c3-9fca-7d0646652bab", event="order.placed", emitted_ms=0)
    context.withheld = (json.dumps(PAYLOAD).encode(), None, Privacy(frozenset(PAYLOAD), False, sealed))
    token = current.set(context)
    try:
        yield
    finally:
        current.reset(token)


def test_with_nothing_declared_a_handlers_own_lines_are_left_as_they_are() -> None:
    made = record("order %s of %d", SECRET, CARD, extra={"card": CARD, SECRET: [SECRET]})
    made.threadName = SECRET
    before: dict[str, Any] = made.__dict__.copy()
    with handling_undeclared():
        ContextFilter().filter(made)
    assert all(made.__dict__[name] == value for name, value in before.items())


def test_of_what_is_sealed_nothing_is_left_in_own_lines() -> None:
    made = record("order %s of %d", SECRET, CARD)
    with handling_undeclared(lambda path: path == ("card",)):
        ContextFilter().filter(made)
    assert made.getMessage() == f"order {SECRET} of ***"


@pytest.mark.parametrize("declared", [True, False])
def test_errors_are_redacted_of_all_that_is_not_shown(declared: bool) -> None:
    made = record("failed", exc_info=raised(chained()), sinfo=f"Stack\n {SECRET}")
    text_only = record("failed")
    text_only.exc_text = f"Traceback\nValueError: {SECRET} of {CARD}"
    for each in (made, text_only):
        with handling() if declared else handling_undeclared():
            ContextFilter().filter(each)
        assert each.exc_info is None
        assert "***" in each.exc_text
        assert not [encoded for encoded in ENCODED if encoded in f"{each.exc_text} {each.stack_info}"]


@pytest.mark.parametrize("name", ["asyncio", "concurrent.futures", "py.warnings"])
def test_what_python_itself_logs_inside_a_handler_counts_as_an_error(name: str) -> None:
    made = record("Exception in callback boom(%r)", SECRET)
    made.name = name
    with handling_undeclared():
        ContextFilter().filter(made)
    assert made.getMessage() == "Exception in callback boom('***')"


@pytest.mark.parametrize("attribute", ["threadName", "taskName", "processName"])
def test_names_of_threads_tasks_and_processes_are_redacted(attribute: str) -> None:
    made = record("charging")
    setattr(made, attribute, f"charge {SECRET}")
    lines(made)
    assert getattr(made, attribute) == "charge ***"


# -- what one record may cost

NESTED = functools.reduce(lambda inner, _: [inner], range(2_000), list[Any]())
LARGE = [f"{number:05}" * 20 for number in range(9_000)]
RECORDS: dict[str, Callable[[], Any]] = {
    "many long strings": lambda: record("order", extra={"order": {str(n): f"lorem {n} " * 100 for n in range(900)}}),
    "the payload as extra": lambda: record("order", extra={"order": LARGE}),
    "the payload as an argument": lambda: record("order %s", LARGE),
    "many extras": lambda: logging.makeLogRecord(
        {"msg": "order", "extra": 1} | {f"f{n}": f"v{n}" for n in range(20_000)}
    ),
    "a long list": lambda: record("order", extra=["abc"] * 1_000_000),
    "a large mapping": lambda: record("order", extra={n: n for n in range(200_000)}),
    "large objects": lambda: record("order", extra=[frozenset(LARGE)] * 100),
    "deep nesting": lambda: record("order", extra=NESTED),
    "a huge message": lambda: record("x y z " * 1_000_000),
    "a huge stack": lambda: record("here", sinfo="a line of the stack\n" * 100_000),
    "an error of many lines": lambda: record("failed", exc_info=raised(ValueError("a line\n" * 500_000))),
}


@pytest.mark.parametrize("what", RECORDS)
@pytest.mark.parametrize(
    "payload", [PAYLOAD, LARGE, [f"val{n}" for n in range(90_000)]], ids=["small", "large", "many"]
)
def test_a_record_of_any_content_is_redacted_in_bounded_time(what: str, payload: Any) -> None:
    made = RECORDS[what]()
    context = Context(event_id="01a20cdd-4493-70c3-9fca-7d0646652bab", event="order.placed", emitted_ms=0)
    context.withheld = (json.dumps(payload).encode(), None, Privacy(frozenset(), True, None))
    token = current.set(context)
    # What other tests have left in this process is not to be collected meanwhile.
    gc.disable()
    try:
        began = time.process_time()
        ContextFilter().filter(made)
        for formatter in FORMATTERS[:2]:
            formatter.format(made)
        assert time.process_time() - began < 0.2  # 0.1 s on a machine that is not busy
    finally:
        gc.enable()
        current.reset(token)
