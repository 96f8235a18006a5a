"""Reading the JSON log back: records, what is none, and what is not whole yet."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oxherd.telemetry.reader import LONGEST_LINE, read_records

NONE = [
    b"text", b"", b"  ", b"[1]", b"1", b"null", b'"text"', b'{"a": 1', b'{"a": NaN}', b'{"a": -Infinity}', b"{'a': 1}",
    b'{"a": 1} {"b": 2}', b'\xff{"a": 1}', b'{"a": "\xff"}', b'\xef\xbb\xbf{"a": 1}', b"\0{}", b"[" * 100_000,
    b'{"a":' * 100_000, b'{"a": ' + b"9" * 5_000 + b"}", '{"a": 1}'.encode("utf-16"),
]  # fmt: skip


@pytest.mark.parametrize("line", NONE)
def test_a_line_that_is_no_record_is_counted_and_told(line: bytes) -> None:
    told: list[bytes] = []
    records = read_records(b'{"first": 1}\n' + line + b'\n{"last": 2}\r\n', told.append)
    assert list(records) == [{"first": 1}, {"last": 2}]
    assert (records.others, records.unfinished) == (1, False)
    assert told == [line + b"\n"]


def test_a_line_that_is_not_whole_is_left_out_also_where_it_reads_as_a_record() -> None:
    records = read_records(b'{"first": 1}\n{"last": 2}')
    assert list(records) == [{"first": 1}]
    assert (records.others, records.unfinished) == (0, True)


def test_a_file_is_read_as_its_bytes_are(tmp_path: Path) -> None:
    log = tmp_path / "worker.jsonl"
    log.write_bytes(b'{"a": "\\ud800"}\nTraceback\n{"b"')
    records = read_records(log)
    assert list(records) == [{"a": "\ud800"}]
    assert (records.others, records.unfinished) == (1, True)


@pytest.mark.parametrize(("end", "others"), [(b"\n", 1), (b"", 0)])
@pytest.mark.parametrize("more", [-2, -1, 0, 1, LONGEST_LINE])
def test_a_line_longer_than_any_of_ours_is_one_line(end: bytes, others: int, more: int) -> None:
    told: list[bytes] = []
    records = read_records(b'{"a": 1}\n' + b"x" * (LONGEST_LINE + more) + end, told.append)
    assert list(records) == [{"a": 1}]
    assert (records.others, records.unfinished) == (others, not others)
    assert all(len(line) <= LONGEST_LINE for line in told)


@given(st.binary() | st.lists(st.sampled_from([*NONE[:10], b"\n", b'{"a": 1}'])).map(b"".join))
def test_each_complete_line_is_a_record_or_counted(raw: bytes) -> None:
    records = read_records(raw)
    assert len(list(records)) + records.others == raw.count(b"\n")
    assert records.unfinished == (not raw.endswith(b"\n") and raw != b"")
