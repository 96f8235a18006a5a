"""The process that runs a `def` handler: told by the worker what to run, it answers with what came of it.

The main thread runs the handler, one event at a time; a second one listens to the worker.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import os
import queue
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from oxherd.context import Cancelled, Context, ContextFilter, LockLost, Reason, Stopping, TimedOut, current
from oxherd.errors import ConfigError, Discard, OxherdError
from oxherd.lineage import parse_lineage
from oxherd.privacy.redaction import Redactor
from oxherd.worker.executors import log_forwarding
from oxherd.worker.executors.handler_import import Imported, import_handler
from oxherd.worker.executors.parent_death import end_with_parent
from oxherd.worker.executors.protocol import Channel, Frame
from oxherd.worker.running.execution import result_json
from oxherd.worker.running.failure import describe_failure

_REASONS = {kind.__name__: kind for kind in (Stopping, LockLost, Cancelled)}


class _Worker:
    """The worker, seen from the process: what it asks for, what it is told."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._runs: queue.SimpleQueue[tuple[Frame, Context] | None] = queue.SimpleQueue()
        self._stored: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._storing = threading.Lock()
        self._context: Context | None = None
        self.event = ""
        self.send = channel.send

    def listen(self) -> None:
        """Take what the worker sends; ends the process when the worker has gone."""
        while (frame := self._channel.receive()) is not None:
            kind = frame["kind"]
            if kind == "run":
                # Here and not in the main thread: the next frame may cancel it.
                self._context = _ChildContext(self, self.event, frame)
                self._runs.put((frame, self._context))
            elif kind == "cancel" and self._context is not None:
                self._context.cancelled = _reason(frame)
            elif kind == "stored":
                self._stored.put(frame["error"])
            elif kind == "leave":
                self._runs.put(None)
        os._exit(1)

    def next_run(self) -> tuple[Frame, Context] | None:
        """The next event; None when the process is to leave."""
        return self._runs.get()

    def store_progress(self, context: Context, value: Any) -> None:
        """Have the worker store it."""
        try:
            plain = json.loads(to_json(value, inf_nan_mode="null"))
        except (PydanticSerializationError, ValueError, RecursionError) as error:
            raise OxherdError(f"The progress could not be stored ({type(error).__name__}); pass JSON.") from None
        with self._storing:
            self.send({"kind": "progress", "id": context.text, "fence": context.fence, "value": plain})
            refusal = self._stored.get()
        if refusal is not None:
            raise OxherdError(refusal)


class _ChildContext(Context):
    """A Context whose progress goes by way of the worker."""

    __slots__ = ("_worker",)

    def __init__(self, worker: _Worker, event: str, frame: Frame) -> None:
        super().__init__(
            text=frame["id"],
            event=event,
            attempt=frame["attempt"],
            fence=frame["fence"],
            emitted_ms=frame["emitted_ms"],
            lineage=parse_lineage(frame["carried"]),
        )
        self._worker = worker

    async def progress(self, value: Any) -> None:
        await asyncio.to_thread(self._worker.store_progress, self, value)

    def progress_sync(self, value: Any) -> None:
        self._worker.store_progress(self, value)


class _Forwarder(logging.Handler):
    """Sends records to the worker."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel
        self.addFilter(ContextFilter())

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._channel.send(log_forwarding.to_frame(record))
        except RecursionError:
            raise
        except Exception:  # noqa: BLE001 - as logging's own handlers do: a record that cannot be sent is reported there
            self.handleError(record)


def main(arguments: list[str]) -> None:
    """Import the handler, then run it for each event until the worker says that it is enough."""
    descriptor, parent = int(arguments[0]), int(arguments[1])
    os.set_inheritable(descriptor, False)
    _leave_signals_to_worker()
    # Line by line: what a handler has printed is out before it may be killed, and no line is torn by others.
    stdout: Any = sys.stdout
    if stdout is not None:  # a worker may have been started with it closed
        stdout.reconfigure(line_buffering=True)
    end_with_parent(parent, signal.SIGKILL)
    channel = Channel(socket.socket(fileno=descriptor))
    hello = channel.receive()
    if hello is None:
        return
    forwarder = _forward_records(channel, hello)
    worker = _Worker(channel)
    try:
        imported = import_handler(hello, hello["event"])
    except Exception as error:  # noqa: BLE001 - a user's module may raise anything
        channel.send({"kind": "refused", "message": _why_not(hello, error)})
        return
    log_forwarding.forward(forwarder, hello["levels"])
    worker.event = imported.declaration.name
    threading.Thread(target=worker.listen, name="oxherd-listen", daemon=True).start()
    channel.send({"kind": "ready"})
    while (run := worker.next_run()) is not None:
        # A context of its own for each event: what a handler sets in it must not reach the next.
        channel.send(contextvars.copy_context().run(_process, imported, *run))
    imported.close()


def _process(imported: Imported, frame: Frame, context: Context) -> Frame:
    declaration, handler = imported.declaration, imported.handler
    current.set(context)
    data: bytes = frame["payload"].encode()
    shown = None if frame["shown"] is None else frame["shown"].encode()
    context.withheld = withheld = (data, shown, declaration.payload.field_names)
    try:
        payload = declaration.payload.decode(data)
        if imported.signals.tracer is not None:
            imported.signals.tracer.attach(context.lineage.trace)
        result = handler.function(payload, context) if handler.wants_context else handler.function(payload)
        return {"kind": "returned", "result": result_json(result).decode()}
    except BaseException as error:  # noqa: BLE001 - whatever a handler raises becomes its event's outcome
        # What oxherd itself called is no part of the handler's story.
        error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
        # Here, where the error is whole: its type may say what of its message must not be seen.
        told = describe_failure(error, None, Redactor(*withheld))
        return {
            "kind": "raised",
            "type": told.type,
            "message": told.message,
            "frames": told.stack,
            "discard": isinstance(error, Discard),
            "cancelled": isinstance(error, asyncio.CancelledError),
        }


def _forward_records(channel: Channel, hello: Frame) -> _Forwarder:
    forwarder = _Forwarder(channel)
    log_forwarding.forward(forwarder, hello["levels"])
    # Python's own handler of last resort serves what a handler forks: the connection is not theirs.
    os.register_at_fork(after_in_child=lambda: (logging.root.removeHandler(forwarder), channel.abandon()))
    return forwarder


def _leave_signals_to_worker() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        # Not SIG_IGN, which the programs that a handler starts would inherit.
        signal.signal(number, _no_answer)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


def _no_answer(number: int, frame: FrameType | None) -> None:
    """The worker decides what a signal means, and says it."""


def _why_not(hello: Frame, error: Exception) -> str:
    if isinstance(error, ConfigError):
        return str(error)
    where = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{hello['module']} cannot be imported in the process of its handler: "
        f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}."
    )


def _reason(frame: Frame) -> Reason:
    return TimedOut(frame["timeout"]) if "timeout" in frame else _REASONS[frame["reason"]]()


if __name__ == "__main__":
    main(sys.argv[1:])
