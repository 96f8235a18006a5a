"""What the process of a handler sends to its worker: frames, and whatever else its code may write."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import pytest

from oxherd.retries import Decision, Verdict
from oxherd.worker.executors.processes import HandlerDied, result_of
from oxherd.worker.executors.protocol import ProtocolError, pack, read
from oxherd.worker.running.failure import Raised
from oxherd.worker.running.result import JSONResult

RAISED: dict[str, Any] = {
    "kind": "raised", "type": "ValueError", "message": "no", "stack": [], "cancelled": False,
    "decision": "as declared", "delay_ms": None, "fault": None,
}  # fmt: skip
FRAMES: list[dict[str, Any]] = [
    {"kind": "ready"},
    {"kind": "returned", "result": "null", "dropped": None},
    RAISED,
    {"kind": "log", "record": {}, "process": 1, "extra": {}},
    {"kind": "memory", "resident": 1024},
    {"kind": "progress", "id": "1", "fence": 1, "value": None},
]


async def received(sent: bytes) -> list[dict[str, Any]]:
    reader = asyncio.StreamReader()
    reader.feed_data(sent)
    reader.feed_eof()
    found: list[dict[str, Any]] = []
    while (frame := await read(reader)) is not None:
        found.append(frame)
    return found


async def test_frames_are_read_as_they_were_sent_up_to_one_that_is_not_whole() -> None:
    sent = b"".join(map(pack, FRAMES))
    assert await received(sent) == FRAMES
    assert await received(sent + pack(FRAMES[0])[:-1]) == FRAMES


def framed(body: bytes) -> bytes:
    return struct.pack(">4sI", b"oxh\n", len(body)) + body


@pytest.mark.parametrize(
    "sent",
    [
        b"hello, world, this is text",
        b"\0" * 100,
        framed(b""),
        framed(b"\xff"),
        framed(b"[" * 100_000),
        framed(b"[]"),
        framed(b"{}"),
        pack({"kind": ["ready"]}),
        pack({"kind": "run"}),
        pack(RAISED | {"decision": "perhaps"}),
        pack(RAISED | {"decision": "snooze"}),
        *(pack(RAISED | {"decision": "retry in", "delay_ms": delay_ms}) for delay_ms in (-1, 2**63, True)),
        *(pack(frame | {name: ()}) for frame in FRAMES for name in frame if name not in ("value", "stack")),
    ],
)
async def test_what_is_no_frame_is_told_from_one(sent: bytes) -> None:
    with pytest.raises(ProtocolError):
        await received(pack(FRAMES[0]) + sent)


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "", "ValueError"])
def test_what_is_told_of_an_error_can_be_stored_and_logged(text: str) -> None:
    raised = result_of(RAISED | {"type": text, "message": text, "stack": [text, None]})
    assert isinstance(raised, Raised)
    assert raised.error.type.encode() == raised.error.message.encode()


def test_what_an_error_means_for_another_attempt_is_told_with_it() -> None:
    for decision, delay_ms in (
        (Decision.SNOOZE, 0),
        (Decision.RETRY_IN, 5),
        (Decision.RATE_LIMITED, 7),
        (Decision.FINAL, None),
    ):
        raised = result_of(RAISED | {"decision": decision.value, "delay_ms": delay_ms, "fault": "\ud800"})
        assert isinstance(raised, Raised)
        assert raised.verdict == Verdict(decision, delay_ms, "?")


def test_an_answer_that_nobody_asked_for_is_no_result() -> None:
    with pytest.raises(HandlerDied, match="nobody asked for"):
        result_of({"kind": "ready"})
    assert result_of({"kind": "returned", "result": '"\ud800"', "dropped": None}) == JSONResult(b'"?"')
