"""What a job keeps of its runs: bounded, whoever has written the field before, and read without raising."""

from __future__ import annotations

import json

import pytest

from oxherd.bullmq.runs import LONGEST, MOST, Run, runs_of, with_run

RUN = Run(1, 1, "web-7f9c:12345:0123456789ab", 1_764_482_052_123, 45, "retrying", "ValueError", "no stock")


def line(*values: object) -> bytes:
    return json.dumps(values).encode()


def test_runs_are_read_as_they_were_kept() -> None:
    first = with_run(b"", RUN).encode()
    second = Run(1, 2, RUN.worker, RUN.began_ms, None, "lost")
    assert runs_of(with_run(first, second).encode()) == [RUN, second]


def test_the_last_ten_are_kept() -> None:
    stored = b""
    for fence in range(1, 26):
        stored = with_run(stored, Run(1, fence, "w:1:0123456789ab", 1, 1, "retrying")).encode()
    assert [run.fence for run in runs_of(stored)] == list(range(26 - MOST, 26))


@pytest.mark.parametrize(
    "text", ["x" * 10_000, "\0" * 10_000, "é" * 10_000, "\U0001f600\n" * 10_000, "\ud800" * 10_000]
)
def test_the_field_has_a_bound_whatever_the_texts_are(text: str) -> None:
    stored = b""
    for fence in range(1, 15):
        stored = with_run(stored, Run(1, fence, "w:1:0123456789ab", 1, 1, "retrying", text, text)).encode()
        assert len(stored) <= LONGEST
    assert runs_of(stored)[-1].fence == 14


@pytest.mark.parametrize(
    "stored",
    [
        b"\xff\xfe",
        b"null",
        b"[" * 1_500,
        b"\n" * 1_000,
        b"x" * 1_000_000,
        line(1, 1, "w", 1, 1, "retrying", "E"),
        line(-1, 1, "w", 1, 1, "retrying", "E", ""),
        line(True, 1, "w", 1, 1, "retrying", "E", ""),
        line(1, 1, "w", 10**18, 1, "retrying", "E", ""),
        line(1, 1, "w", 1.5, 1, "retrying", "E", ""),
        line(1, 1, ["w"], 1, 1, "retrying", "E", ""),
        b'[1,1,"w",NaN,1,"retrying","E",""]',
        b"[" + b"9" * 1_400 + b"]",
    ],
)
def test_what_another_program_has_written_is_left_out(stored: bytes) -> None:
    assert runs_of(stored) == []
    kept = with_run(stored, RUN).encode()
    assert len(kept) <= LONGEST
    assert runs_of(kept)[-1] == RUN


def test_half_a_character_that_json_has_escaped_has_utf_8() -> None:
    (run,) = runs_of(line(1, 1, "w\ud800", 1, 1, "retrying", "E\udfff", "\ud800"))
    (run.worker + run.error_type + run.message).encode()
