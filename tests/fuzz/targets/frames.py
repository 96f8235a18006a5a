"""Messages of a handler's process to its worker: valid frames, nearly valid ones, any bytes."""

from __future__ import annotations

import asyncio
import logging
import struct

from oxherd.telemetry.logs.console_formatter import ConsoleFormatter
from oxherd.telemetry.logs.json_formatter import JSONFormatter
from oxherd.worker.executors.log_forwarding import log_record
from oxherd.worker.executors.processes import HandlerDied, result_of
from oxherd.worker.executors.protocol import Message, ProtocolError, pack, read
from oxherd.worker.running.failure import Raised
from tests.fuzz.oracle import in_time
from tests.fuzz.source import Source, as_bytes

_KEYS = (
    "kind", "log", "progress", "ready", "refused", "returned", "raised", "record", "extra", "process", "name",
    "levelno", "levelname", "created", "msg", "args", "exc_info", "exc_text", "pathname", "message", "type", "stack",
    "decision", "delay_ms", "fault", "snooze", "retry in", "cancelled", "result", "dropped", "id", "fence", "value",
    "getMessage", "event", "thread", "__class__",
)  # fmt: skip
_RECORD = '"name":"shop","levelno":40,"levelname":"ERROR","created":1.5,"msg":"done"'
_SNOOZED = '"decision":"snooze","delay_ms":5,"fault":null}'
_FAULTY = '"decision":"as declared","delay_ms":null,"fault":"\\ud800"}'
_BODIES = (
    '{"kind":"ready"}',
    '{"kind":"returned","result":"null","dropped":null}',
    '{"kind":"raised","type":"ValueError","message":"no","stack":["a:1 b"],"cancelled":false,' + _SNOOZED,
    '{"kind":"raised","type":"\\u0000","message":"\\ud800","stack":[1,null],"cancelled":false,' + _FAULTY,
    '{"kind":"log","record":{' + _RECORD + '},"process":1,"extra":{}}',
)
_written: list[str] = []


class _Formatting(logging.Handler):
    """Writes each record in both ways."""

    def emit(self, record: logging.LogRecord) -> None:
        _written.extend(each.format(record) for each in (JSONFormatter(), ConsoleFormatter(colour=False)))


@in_time
def frames(data: bytes) -> None:
    """Read what a process has sent, and do with each frame what a worker does."""
    source = Source(data, _KEYS)
    sent = b"".join(_sent(source) for _ in range(source.below(4)))
    asyncio.run(_receive(data), debug=False)
    asyncio.run(_receive(sent), debug=False)


def _sent(source: Source) -> bytes:
    kind = source.below(8)
    if kind == 0:
        return source.raw()
    if kind == 1:
        return pack({"kind": source.choose(_KEYS), source.choose(_KEYS): source.choose(_KEYS)})
    if kind < 4:
        body = source.choose(_BODIES)
    elif kind < 6:
        extra = source.object()
        body = f'{{"kind":"log","record":{{{_RECORD},{source.object()[1:]},"process":1,"extra":{extra}}}'
    else:
        body = source.object()
    raw = as_bytes(body)
    length = len(raw) if source.below(8) else source.choose((0, 1, len(raw) + 1, 2**32 - 1))
    return struct.pack(">4sI", b"oxh\n", length) + raw


async def _receive(sent: bytes) -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(sent)
    reader.feed_eof()
    handler = _Formatting()
    logging.getLogger().addHandler(handler)
    try:
        while (frame := await read(reader)) is not None:
            _use(frame)
    except ProtocolError:
        return
    finally:
        logging.getLogger().removeHandler(handler)
        _written.clear()


def _use(frame: Message) -> None:
    if frame["kind"] == "log":
        log_record(frame)
        for line in _written:
            assert "\n" not in line.replace("\n    ", ""), line
        return
    if frame["kind"] in ("progress", "refused"):
        return
    try:
        result = result_of(frame)
    except HandlerDied:
        return
    if isinstance(result, Raised):
        for text in (result.error.type, result.error.message):
            text.encode()
        (result.verdict.fault or "").encode()
    else:
        result.json.decode()
