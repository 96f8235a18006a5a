"""Reading the JSON log back: records, what is none, and what is not whole yet."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oxherd.telemetry.logs.reader import read_records

NONE = [
    b"text", b"", b"  ", b"[1]", b"1", b"null", b'"text"', b'{"a": 1', b'{"a": NaN}', b'{"a": -Infinity}', b"{'a': 1}",
    b'{"a": 1} {"b": 2}', b'\xff{"a": 1}', b'{"a": "\xff"}', b'\xef\xbb\xbf{"a": 1}', b"\0{}", b"[" * 100_000,
    b'{"a":' * 100_000, b'{"a": ' + b"9" * 5_000 + b"}", '{"a": 1}'.encode("utf-16"),
]  # fmt: skip


@pytest.mark.parametrize("line", NONE)
def test_a_line_that_is_no_record_is_told(line: bytes) -> None:
    told: list[bytes] = []
    records = read_records(b'{"first": 1}\n' + line + b'\n{"last": 2}\r\n', told.append)
    assert list(records) == [{"first": 1}, {"last": 2}]
    assert told == [line + b"\n"]


def test_a_line_that_is_not_whole_is_left_out_also_where_it_reads_as_a_record() -> None:
    told: list[bytes] = []
    assert list(read_records(b'{"first": 1}\n{"last": 2}', told.append)) == [{"first": 1}]
    assert list(read_records(b'{"first": 1}\ntext', told.append)) == [{"first": 1}]
    assert told == []


def test_a_file_is_read_as_its_bytes_are(tmp_path: Path) -> None:
    told: list[bytes] = []
    log = tmp_path / "worker.jsonl"
    log.write_bytes(b'{"a": "\\ud800"}\nTraceback\n{"b"')
    assert list(read_records(log, told.append)) == [{"a": "\ud800"}]
    assert told == [b"Traceback\n"]


@given(st.binary() | st.lists(st.sampled_from([*NONE[:10], b"\n", b'{"a": 1}'])).map(b"".join))
def test_each_complete_line_is_a_record_or_told(raw: bytes) -> None:
    told: list[bytes] = []
    assert len(list(read_records(raw, told.append))) + len(told) == raw.count(b"\n")
