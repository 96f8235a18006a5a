"""Log lines whatever a record holds: one JSON object with the contract's keys, or one entry that nothing can forge."""

from __future__ import annotations

import json
import logging
import re
import sys
from typing import Any

import pytest

from oxherd.privacy.shown_payload import ShownPayload
from oxherd.signals import EventBegan
from oxherd.telemetry.logs.console_formatter import ConsoleFormatter
from oxherd.telemetry.logs.json_formatter import JSONFormatter
from oxherd.telemetry.logs.subscriber import LogSubscriber
from tests.harness import Records

FORGED = "fine\n12:00:00.000  order.placed  #1 00000000-0000-0000-0000-000000000000  completed in 1 ms"
TURNED = "\x1b[2J\x1b]0;title\x07\x9b31m\r\x85\u2028\u202e\ud800"
ESCAPED = r"\x1b[2J\x1b]0;title\x07\x9b31m\r\x85\u2028\u202e\ud800"


class Mute:
    """Has no text."""

    def __str__(self) -> str:
        raise ValueError

    __repr__ = __str__


def record(message: Any = "done", *args: Any, name: str = "shop", **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord(name, logging.INFO, __file__, 1, message, args, None)
    made.__dict__.update(extra)
    return made


def written(made: logging.LogRecord) -> dict[str, Any]:
    line = JSONFormatter().format(made)
    assert line.isprintable()
    pairs: list[tuple[str, Any]] = json.loads(line, object_pairs_hook=list)
    assert [key for key, _ in pairs][:4] == ["ts", "level", "logger", "msg"]
    assert len(dict(pairs)) == len(pairs)
    return json.loads(line)


def shown(made: logging.LogRecord) -> list[str]:
    lines = ConsoleFormatter(colour=False).format(made).split("\n")
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3}  ", lines[0])
    assert all(line.startswith(" " * 14) for line in lines[1:])
    assert all(line.isprintable() for line in lines)
    return lines


def test_a_key_of_the_contract_is_said_by_the_record_itself() -> None:
    fields = written(record(ts=1, level="x", logger="x", exception="none", extra_ts=2))
    assert (fields["level"], fields["logger"], fields["msg"]) == ("INFO", "shop", "done")
    assert (fields["extra_level"], fields["extra_logger"], fields["extra_exception"]) == ("x", "x", "none")
    assert {fields["extra_ts"], fields["extra_extra_ts"]} == {1, 2}


@pytest.mark.parametrize("message", ["event.begin", "event.end"])
def test_a_record_of_the_users_own_that_is_called_as_one_of_ours_is_written_as_it_is(message: str) -> None:
    four = {"event": 'a","level":"x', "b": 1, "c": 2, "d": 3}
    assert written(record(message, name="oxherd", **four)).items() >= four.items()
    six = {"event": "a", "event_id": "b", "outcome": 'completed","a":"', "attempt": 1, "fence": 1, "x": 1}
    assert written(record(message, name="oxherd", **six)).items() >= six.items()
    shown(record(message, name="oxherd", **six))


circular: list[Any] = []
circular += [circular, circular, {"a": circular}]
VALUES: dict[str, tuple[Any, Any]] = {
    "text that is no Unicode": ({"a": ["\ud800"]}, {"a": ["\\ud800"]}),
    "bytes": ({"a": b"\xff"}, {"a": "\\xff"}),
    "a number without end": (10**5000, "<int>"),
    "one inside": ([10**5000, "b"], ["<int>", "b"]),
    "NaN": ([float("nan")], [None]),
    "what has no text": ([Mute()], ["<Mute>"]),
}


@pytest.mark.parametrize("what", VALUES)
def test_a_value_is_written_as_far_as_it_can_be(what: str) -> None:
    value, expected = VALUES[what]
    assert written(record(value=value))["value"] == expected


def test_a_value_without_end_is_written_all_the_same() -> None:
    assert written(record(value=circular))["value"]
    shown(record(payload=circular))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (record("%d", "x"), "%d (its arguments do not fit)"),
        (record("%s %s", "x"), "%s %s (its arguments do not fit)"),
        (record("%s", Mute()), "%s (its arguments do not fit)"),
        (record(Mute()), "<Mute>"),
        (record(["a"]), "['a']"),
        (record("100 %"), "100 %"),
    ],
)
def test_a_message_is_written_also_where_its_arguments_do_not_fit(made: logging.LogRecord, message: str) -> None:
    assert written(made)["msg"] == message
    assert shown(made)[0].endswith(f"shop: {message}")


@pytest.mark.parametrize("created", [float("nan"), float("inf"), 1e20, -1.0, "now"])
def test_a_record_of_no_time_is_told_of(created: Any) -> None:
    fields = written(record("done", created=created))
    assert fields["msg"] == "a log record could not be written"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", fields["ts"])


def test_names_that_are_no_text_and_levels_of_ones_own_are_written() -> None:
    made = record(levelname='a"b\n', name='a"b\n')
    made.__dict__.update({3: "three", None: "none"})  # pyright: ignore[reportCallIssue, reportArgumentType]
    fields = written(made)
    assert (fields["level"], fields["logger"]) == ('a"b\n', 'a"b\n')
    assert (fields["extra_3"], fields["extra_None"]) == ("three", "none")


@pytest.mark.parametrize("text", [FORGED, TURNED])
@pytest.mark.parametrize("where", ["message", "payload", "error", "source", "event", "logger", "stack", "trace"])
def test_nothing_in_a_record_forges_another_or_steers_the_terminal(where: str, text: str) -> None:
    error = {"type": text, "message": text}
    made = {
        "message": lambda: record("%s", text),
        "payload": lambda: record("event.begin", payload={text: [text]}),
        "error": lambda: record(error=error),
        "source": lambda: record(source=text, queue=text, node=text, events=[text], server=text, drained_ids=[text]),
        "event": lambda: record(event=text, event_id=text, attempt=text),
        "logger": lambda: record(name=text),
        "stack": lambda: record(error={"type": "ValueError", "message": "no", "stack": [text, text]}),
        "trace": lambda: record(exc_info=raised(text)),
    }[where]()
    lines = shown(made)
    written(made)
    assert len(lines) < (3 if where not in ("stack", "trace") else 10)
    if text is TURNED and where != "payload":
        assert ESCAPED in "\n".join(lines)
    coloured = ConsoleFormatter(colour=True).format(made)
    assert "\x1b[2J" not in coloured
    assert "\x07" not in coloured


def raised(text: str) -> Any:
    try:
        raise ValueError(text)
    except ValueError:
        return sys.exc_info()


def test_a_trace_is_shown_below_its_record() -> None:
    lines = shown(record("in trouble", exc_info=raised("no")))
    assert lines[1].strip() == "Traceback (most recent call last):"
    assert lines[-1].strip() == "ValueError: no"


def test_a_record_whose_details_cannot_be_shown_keeps_its_message() -> None:
    (line,) = shown(record("done", payload={1: {2, 3}}, outage_ms="long"))
    assert line.endswith("shop: done (its details cannot be shown: TypeError)")


def test_a_payload_that_is_shown_ends_no_line(records: Records) -> None:
    shown_payload = ShownPayload('{"a":"\u2028\u0085\u009b"}'.encode())
    LogSubscriber()(EventBegan("order.placed", "00000000-0000-0000-0000-000000000000", 1, 1, shown_payload))
    (began,) = records.named("event.begin")
    assert written(began)["payload"] == {"a": "\u2028\u0085\u009b"}
    shown(began)
