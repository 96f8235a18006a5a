"""The process that runs a `def` handler: the worker tells it what to run, and it replies with the result.

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
from collections.abc import Awaitable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from oxherd.context import Cancelled, Context, ContextFilter, LockLost, Reason, Stopping, TimedOut, current
from oxherd.errors import ConfigError, LifespanError, OxherdError
from oxherd.handler import DeclaredHandler
from oxherd.lineage import parse_lineage
from oxherd.privacy.shown_payload import privacy_of
from oxherd.worker.executors import log_forwarding
from oxherd.worker.executors.handler_reference import import_handler
from oxherd.worker.executors.memory import resident_bytes
from oxherd.worker.executors.parent_death import end_with_parent
from oxherd.worker.executors.process_resources import ProcessResources
from oxherd.worker.executors.protocol import Channel, Message
from oxherd.worker.running.failure import describe_raised
from oxherd.worker.running.result import encode_result, is_awaitable
from oxherd.worker.unhandled import log_unhandled

_REASONS: dict[str, type[Reason]] = {kind.__name__: kind for kind in (TimedOut, Stopping, LockLost, Cancelled)}


def main(arguments: list[str]) -> None:
    """Import the handler, then run it for each event until the worker says to leave."""
    descriptor, parent = int(arguments[0]), int(arguments[1])
    os.set_inheritable(descriptor, False)
    _leave_signals_to_worker()
    # Line by line: what a handler has printed is out before it may be killed, and others tear no line.
    stdout: Any = sys.stdout
    if stdout is not None:  # a worker may have been started with it closed
        stdout.reconfigure(line_buffering=True)
    end_with_parent(parent, signal.SIGKILL)
    channel = Channel(socket.socket(fileno=descriptor))
    hello = channel.receive()
    if hello is None:
        return
    forwarder = _forward_logs(channel, hello)
    try:
        declared = import_handler(hello, hello["event"])
        resources = ProcessResources(declared)
        resources.open()
    except Exception as error:  # noqa: BLE001 - a user's module may raise anything
        channel.send({"kind": "refused", "message": _refusal(hello, error)})
        return
    log_forwarding.forward_to(forwarder, hello["levels"])
    log_unhandled()
    worker = _Worker(channel, declared.declaration.name)
    threading.Thread(target=worker.listen, name="oxherd-listen", daemon=True).start()
    channel.send({"kind": "ready"})
    while (run := worker.runs.get()) is not None:
        # In a copy of the contextvars: what a handler sets must not reach the next event.
        reply = contextvars.copy_context().run(_run, declared, resources, *run)
        if hello["measure"]:
            channel.send({"kind": "memory", "resident": resident_bytes()})
        channel.send(reply)
    resources.close()
    declared.close()


class _Worker:
    """The worker, as the process sees it; `runs` are its events in turn, then None when the process is to leave."""

    def __init__(self, channel: Channel, event: str) -> None:
        self._channel = channel
        self._event = event
        self.runs: queue.SimpleQueue[tuple[Message, Context] | None] = queue.SimpleQueue()
        self._stored: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._storing = threading.Lock()
        self._context: Context | None = None

    def listen(self) -> None:
        """Take the worker's messages; ends the process when the worker has gone."""
        while (message := self._channel.receive()) is not None:
            kind = message["kind"]
            if kind == "run":
                # Here and not in the main thread: the next message may cancel it.
                self._context = _ChildContext(self, self._event, message)
                self.runs.put((message, self._context))
            elif kind == "cancel" and self._context is not None:
                self._context.cancelled = _reason(message)
            elif kind == "stored":
                self._stored.put(message["error"])
            elif kind == "leave":
                self.runs.put(None)
        os._exit(1)

    def store_progress(self, context: Context, value: Any) -> None:
        """Have the worker store a handler's progress; blocks until it has."""
        try:
            plain = json.loads(to_json(value, inf_nan_mode="null"))
        except (PydanticSerializationError, ValueError, RecursionError) as error:
            raise OxherdError(f"The progress could not be stored ({type(error).__name__}); pass JSON.") from None
        self.store("progress", context, plain)

    def store(self, kind: str, context: Context, value: Any) -> None:
        """Have the worker store what a handler reports; blocks until it has."""
        with self._storing:
            self._channel.send({"kind": kind, "id": context.event_id, "fence": context.fence, "value": value})
            refusal = self._stored.get()
        if refusal is not None:
            raise OxherdError(refusal)


class _ChildContext(Context):
    """A Context that stores its progress and notes by way of the worker."""

    __slots__ = ("_worker",)

    def __init__(self, worker: _Worker, event: str, message: Message) -> None:
        super().__init__(
            event_id=message["id"],
            event=event,
            attempt=message["attempt"],
            fence=message["fence"],
            emitted_ms=message["emitted_ms"],
            lineage=parse_lineage(message["carried"]),
        )
        self._worker = worker

    async def progress(self, value: Any) -> None:
        await asyncio.to_thread(self._worker.store_progress, self, value)

    def progress_sync(self, value: Any) -> None:
        self._worker.store_progress(self, value)

    async def note(self, text: str) -> None:
        await asyncio.to_thread(self.note_sync, text)

    def note_sync(self, text: str) -> None:
        self._worker.store("note", self, self.note_line(text))


def _run(declared: DeclaredHandler, resources: ProcessResources, message: Message, context: Context) -> Message:
    declaration = declared.declaration
    current.set(context)
    data: bytes = message["payload"].encode()
    shown = None if message["shown"] is None else message["shown"].encode()
    context.withheld = (data, shown, privacy_of(declaration.payload, message["declared"]))
    try:
        payload = declaration.payload.decode(data)
        if declared.signals.tracer is not None:
            declared.signals.tracer.attach(context.lineage.trace)
        value = resources.call(payload, context)
        while is_awaitable(value):
            value = asyncio.run(_await(value))
        result = encode_result(value, declaration.max_payload)
        return {"kind": "returned", "result": result.json.decode(), "dropped": result.dropped}
    except BaseException as error:  # noqa: BLE001 - whatever a handler raises becomes its event's outcome
        # Without this function's own frame.
        error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
        raised = describe_raised(error, context, declaration.retry, ask_backoff=message["ask_backoff"])
        return {
            "kind": "raised", **asdict(raised.error), **asdict(raised.verdict), "cancelled": raised.cancelled,
        }  # fmt: skip


async def _await(value: Awaitable[Any]) -> Any:
    return await value


class _Forwarder(logging.Handler):
    """Sends log records to the worker."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel
        self.addFilter(ContextFilter())

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._channel.send(log_forwarding.to_message(record))
        except RecursionError:
            raise
        except Exception:  # noqa: BLE001 - as in logging's own handlers, which report it there
            self.handleError(record)


def _forward_logs(channel: Channel, hello: Message) -> _Forwarder:
    forwarder = _Forwarder(channel)
    log_forwarding.forward_to(forwarder, hello["levels"])
    # A fork must not use the connection: its records go to Python's handler of last resort.
    os.register_at_fork(after_in_child=lambda: (logging.root.removeHandler(forwarder), channel.abandon()))
    return forwarder


def _leave_signals_to_worker() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        # The worker gets them too, and decides. Not SIG_IGN, which programs that a handler starts would inherit.
        signal.signal(number, lambda _number, _frame: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


def _refusal(hello: Message, error: Exception) -> str:
    if isinstance(error, ConfigError | LifespanError):
        return str(error)
    where = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{hello['module']} cannot be imported in the process of its handler: "
        f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}."
    )


def _reason(message: Message) -> Reason:
    return _REASONS[message["reason"]](**message["fields"])


if __name__ == "__main__":
    main(sys.argv[1:])
