"""Tables, folded lines, durations and JSON lines, as the commands print them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from oxherd import UsageError
from oxherd.cli.shown.json_lines import write_json
from oxherd.cli.shown.screen import Screen, Style, folded, width_of
from oxherd.cli.shown.table import Cell, Column, Table
from oxherd.payload.failure import EventError
from oxherd.wording import ago, duration, parse_moment

COLUMNS = (
    Column("name"),
    Column("number", right=True),
    Column("age", right=True, rank=2),
    Column("kind", rank=1),
    Column("note", below=True),
)
ROWS = [("order.placed", "1,234", "5 m", "plain", "paused"), ("b", "0", "", "漢字", "")]
HOSTILE = "\x1b[31mred\x9b0m \u202eevil\u2066 \r\n\t\x07 \x7f \u200b"


def lines(width: int | None, rows: list[tuple[str, ...]] = ROWS) -> list[str]:
    return list(Table(Screen(width, coloured=False), COLUMNS).lines(rows))


def test_a_table_is_aligned_where_nothing_limits_it() -> None:
    assert lines(None) == [
        "NAME          NUMBER  AGE  KIND   NOTE",
        "order.placed   1,234  5 m  plain  paused",
        "b                  0       漢字",
    ]


def test_a_note_without_room_stands_below_its_row() -> None:
    assert lines(34) == [
        "NAME          NUMBER  AGE  KIND",
        "order.placed   1,234  5 m  plain",
        "  paused",
        "b                  0       漢字",
    ]


def test_columns_are_left_out_by_their_rank() -> None:
    assert lines(28)[0] == "NAME          NUMBER  KIND"
    assert lines(20)[0] == "NAME          NUMBER"


def test_rows_are_blocks_where_there_is_no_room_for_a_table() -> None:
    assert lines(19) == [
        "order.placed",
        "  number 1,234",
        "  age 5 m",
        "  kind plain",
        "  note paused",
        "b",
        "  kind 漢字",
    ]


@pytest.mark.parametrize("width", range(20, 100))
def test_no_line_is_longer_than_the_terminal(width: int) -> None:
    rows = [*ROWS, ("a" * 128, "9" * 30, "x y " * 30, "漢字" * 40, "word " * 50)]
    assert max(map(width_of, lines(width, rows))) <= width


def test_parts_of_a_table_keep_its_columns() -> None:
    table = Table(Screen(None, coloured=False), COLUMNS)
    first = list(table.lines([("a-long-name", "1", "", "", "")]))
    assert [first[1].index("1"), next(table.lines([("b", "2", "", "", "")])).index("2")] == [18, 18]


def test_a_screen_without_colour_prints_no_escape() -> None:
    row = [Cell(text, Style.WRONG) for text in ROWS[0]]
    assert "\x1b[31m" in "".join(Table(Screen(80, coloured=True), COLUMNS).lines([row]))
    assert "\x1b" not in "".join(Table(Screen(80, coloured=False), COLUMNS).lines([row]))


@pytest.mark.parametrize("width", [None, 80, 20])
def test_nothing_that_steers_a_terminal_is_left(width: int | None) -> None:
    row = [HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE]
    printed = [*Table(Screen(width, coloured=False), COLUMNS).lines([row]), *folded(HOSTILE, width, HOSTILE)]
    assert all(line.isprintable() for line in printed), printed


def test_what_fits_a_line_is_not_cut() -> None:
    event_id = "01a22a2f-3748-77d5-8f70-c715399a032e"
    assert event_id in list(folded(f"see {event_id} for more", 36, "  -> ", "     "))
    assert "".join(folded("x" * 50, 20)) == "x" * 50


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0.0034, "3 ms"), (1.24, "1.2 s"), (119, "119 s"), (120, "2 m"), (7200, "2 h"), (172_800, "2 d"),
     (-3, "-3.0 s"), (1e9, "11,574 d")],
)  # fmt: skip
def test_a_duration_has_one_unit(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_a_moment_is_past_or_to_come() -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    assert (ago(now - timedelta(minutes=5), now), ago(now + timedelta(hours=3), now)) == ("5 m ago", "in 3 h")


def test_a_moment_is_read_as_so_long_ago_or_as_a_date() -> None:
    assert parse_moment("15m", "--since") == timedelta(minutes=15)
    assert parse_moment("2w", "--since") == timedelta(weeks=2)
    assert parse_moment("2030-01-31T09:00+01:00", "--since") == datetime(2030, 1, 31, 8, tzinfo=UTC)
    assert parse_moment("2030-01-31", "--since") == datetime(2030, 1, 31).astimezone()


@pytest.mark.parametrize("text", ["", "15", "m", "-5m", "1.5h", "yesterday", "2030-13-01", "9" * 40 + "d", "\u0661m"])
def test_a_moment_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--since is so long ago"):
        parse_moment(text, "--since")


def test_a_row_is_a_line_of_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    event_id = UUID(int=7)
    write_json({"id": event_id, "error": EventError("ValueError", HOSTILE), "at": datetime(2030, 1, 1, tzinfo=UTC)})
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert line.isascii()
    assert line.rstrip("\n").isprintable()
    assert json.loads(line) == {
        "id": str(event_id),
        "error": {"type": "ValueError", "message": HOSTILE},
        "at": "2030-01-01T00:00:00.000Z",
    }
