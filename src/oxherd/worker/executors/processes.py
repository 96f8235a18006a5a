"""Runs a handler in processes of its own: started on demand, kept for the next events, killed where that is needed."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import signal
import socket
import subprocess
import sys
from typing import Any

from oxherd.context import Cancelled, Context, Reason, TimedOut
from oxherd.declaration import Declaration
from oxherd.errors import OxherdError
from oxherd.handler import Handler
from oxherd.lineage import Lineage
from oxherd.worker.executors import log_forwarding
from oxherd.worker.executors.handler_reference import where_declared
from oxherd.worker.executors.protocol import Frame, NoFrame, pack, read
from oxherd.worker.running.execution import Execution, JSONResult
from oxherd.worker.running.failure import RaisedElsewhere, raised_elsewhere

# How long a handler that is told to stop may take to end by itself, and a killed process to be gone: both together
# are less than what a stop waits for (`_CLEAN_UP_SECONDS`).
_GRACE_SECONDS = 0.2
_GONE_SECONDS = 0.2
# How long a process may take to import the user's modules, and to leave when it is told to.
_START_SECONDS = 60.0
_LEAVE_SECONDS = 1.0
_UNEXPECTED = "the process of the handler gave an answer that nobody asked for"
# A child blocks them from its first moment on, until it has handlers for them.
_FOR_THE_WORKER = (signal.SIGINT, signal.SIGTERM)


class HandlerDied(RaisedElsewhere, OxherdError):
    """The process of a handler ended before its handler did, or could not be started."""


class Processes:
    """One event's processes, at most as many as its concurrency."""

    def __init__(self, declaration: Declaration, handler: Handler) -> None:
        self._declaration = declaration
        self._handler = handler
        self._room = asyncio.Semaphore(declaration.concurrency)
        self._idle: list[_Child] = []
        self._all: set[_Child] = set()

    async def call(self, running: Execution, payload: Any, /) -> JSONResult:
        """Run the handler in a process; it reads the payload anew from the job's own JSON.

        A handler that is cancelled and does not end at once is killed, and its process with it.
        """
        del payload
        # The start of a process is not the handler's time.
        running.set_timeout(None)
        async with self._room:
            child = await self._take()
            running.set_timeout(self._declaration.timeout)
            try:
                return await child.run(running)
            finally:
                if child.alive:
                    self._idle.append(child)
                else:
                    self._all.discard(child)

    async def close(self) -> None:
        """End all processes: the idle ones leave in order, others are killed."""
        children, self._all, self._idle = self._all, set(), []
        await asyncio.gather(*(child.leave() for child in children))

    async def _take(self) -> _Child:
        while self._idle:
            child = self._idle.pop()
            if child.alive:
                return child
            self._all.discard(child)
        where = where_declared(self._handler.function)
        child = await _Child.start(self._declaration.name, where | {"levels": log_forwarding.levels()})
        self._all.add(child)
        return child


class _Child:
    """A process, seen from the worker: it runs one event at a time."""

    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._writer = writer
        self._killed = False
        self._garbled = False
        self._context: Context | None = None
        self._answer: asyncio.Future[Frame] | None = None
        self._storing: set[asyncio.Task[None]] = set()
        # Without the context of the event for which it is started: the process outlives it.
        self._listening = asyncio.get_running_loop().create_task(
            self._listen(reader), name=f"oxherd-child-{process.pid}", context=contextvars.Context()
        )

    @classmethod
    async def start(cls, event: str, hello: Frame) -> _Child:
        """Start a process and wait until it has imported the handler."""
        process, ours = _spawn(event)
        child = cls(process, *await asyncio.open_connection(sock=ours))
        try:
            async with asyncio.timeout(_START_SECONDS):
                answer = await child._ask(hello | {"kind": "hello", "event": event})
        except TimeoutError:
            child.kill()
            raise HandlerDied(f"the process of the handler was not ready within {_START_SECONDS:g} s") from None
        except BaseException:
            child.kill()
            raise
        if answer["kind"] != "ready":
            await child.leave()
            raise raised_elsewhere("ConfigError", answer.get("message", _UNEXPECTED), [], discard=False)
        return child

    @property
    def alive(self) -> bool:
        """Whether it can take an event."""
        return not self._killed and not self._listening.done() and self._process.poll() is None

    async def run(self, running: Execution) -> JSONResult:
        """Run the handler for one event."""
        context = self._context = running.context
        assert context is not None  # noqa: S101 - it began
        try:
            answer = self._ask(_request(running, context))
            try:
                await asyncio.wait([answer])
            except asyncio.CancelledError:
                if not await self._answered_in_time(answer, context):
                    answer.cancel()
                    self.kill()
                    await asyncio.wait([self._listening], timeout=_GONE_SECONDS)
                    raise
            return result_of(answer.result())
        finally:
            self._context = self._answer = None
            for task in self._storing:
                task.cancel()

    def kill(self) -> None:
        """End it now."""
        self._killed = True
        self._process.kill()

    async def leave(self) -> None:
        """End it in order, or with force if that takes too long."""
        if self._killed or self._context is not None:
            self.kill()
        else:
            self._send({"kind": "leave"})
            await asyncio.wait([self._listening], timeout=_LEAVE_SECONDS)
            if not self._listening.done():
                self.kill()
        await asyncio.wait([self._listening])

    async def _answered_in_time(self, answer: asyncio.Future[Frame], context: Context) -> bool:
        loop = asyncio.get_running_loop()
        end = loop.time() + _GRACE_SECONDS
        while not answer.done() and (left := end - loop.time()) > 0:
            self._send({"kind": "cancel", **_reason(context.cancelled)})
            try:
                await asyncio.wait([answer], timeout=left)
            except asyncio.CancelledError:
                continue  # told once more, for a graver reason; the time does not begin anew
        return answer.done()

    def _ask(self, frame: Frame) -> asyncio.Future[Frame]:
        self._answer = asyncio.get_running_loop().create_future()
        if self._listening.done():
            self._answer.set_exception(HandlerDied(self._death()))
        self._send(frame)
        return self._answer

    def _send(self, frame: Frame) -> None:
        self._writer.write(pack(frame))

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while (frame := await read(reader)) is not None:
                self._receive(frame)
            await self._gone()
        except NoFrame:
            self._garbled = True
        finally:
            if self._process.poll() is None:
                # Only where the loop itself ends, or the process has sent what is no frame.
                self._process.kill()
                self._process.wait()
            self._writer.close()
            if self._answer is not None and not self._answer.done():
                self._answer.set_exception(HandlerDied(self._death()))

    async def _gone(self) -> None:
        """Wait until the process has ended, after its side of the connection has."""
        end = asyncio.get_running_loop().time() + _GONE_SECONDS
        while self._process.poll() is None:
            if asyncio.get_running_loop().time() > end:
                # Its code has closed the connection and goes on.
                self._process.kill()
            await asyncio.sleep(0.002)

    def _receive(self, frame: Frame) -> None:
        kind = frame["kind"]
        if kind == "log":
            write_record(frame)
        elif kind == "progress":
            task = asyncio.get_running_loop().create_task(self._store(frame))
            self._storing.add(task)
            task.add_done_callback(self._storing.discard)
        elif self._answer is not None and not self._answer.done():
            self._answer.set_result(frame)

    async def _store(self, frame: Frame) -> None:
        context = self._context
        # A thread of its handler may outlive an event; its word must not become the next one's.
        refusal: str | None = "The progress was not stored: the event has ended."
        try:
            if context is not None and (context.text, context.fence) == (frame["id"], frame["fence"]):
                await context.progress(frame["value"])
                refusal = None
        except OxherdError as error:
            refusal = str(error)
        finally:
            # Whatever happens: the handler waits for it.
            self._send({"kind": "stored", "error": refusal})

    def _death(self) -> str:
        if self._garbled:
            return "the process of the handler wrote to its connection with the worker, and was killed"
        status = self._process.returncode
        how = f"signal {-status}" if status is not None and status < 0 else f"exit status {status}"
        return f"the process of the handler died ({how})"


def _spawn(event: str) -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair()
    child = str(theirs.fileno())
    # The event is there for `ps`.
    command = [sys.executable, "-m", "oxherd.worker.executors.child", child, str(os.getpid()), event]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_THE_WORKER)
    try:
        # In this very thread: Linux ties a child's death to the thread that started it, and the loop's lives on.
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
    except BaseException:
        ours.close()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
    return process, ours


def _request(running: Execution, context: Context) -> Frame:
    shown = running.shown.json
    lineage = context.lineage
    if running.span is not None and (own := running.span.trace) is not None:
        lineage = Lineage(lineage.caused_by, lineage.root, own)
    return {
        "kind": "run",
        "id": context.text,
        "attempt": context.attempt,
        "fence": context.fence,
        "emitted_ms": running.job.timestamp_ms,
        "carried": lineage.to_json(),
        "payload": running.data.decode(),
        "shown": None if shown is None else shown.decode(),
    }


def result_of(answer: Frame) -> JSONResult:
    """What a handler returned; raises what it raised, or HandlerDied where its process has answered something else."""
    if answer["kind"] == "returned":
        return JSONResult(answer["result"].encode("utf-8", "replace"))
    if answer["kind"] != "raised":
        raise HandlerDied(_UNEXPECTED)
    if answer["cancelled"]:
        raise asyncio.CancelledError
    raise raised_elsewhere(answer["type"], answer["message"], answer["frames"], discard=answer["discard"])


def _reason(reason: Reason | None) -> Frame:
    timeout = {"timeout": reason.timeout} if isinstance(reason, TimedOut) else {}
    return {"reason": type(reason or Cancelled()).__name__} | timeout


def write_record(frame: Frame) -> None:
    """Give a record of the process to this process's logging; whatever goes wrong with it is told there."""
    try:
        log_forwarding.handle(frame)
    except Exception as error:  # noqa: BLE001 - a filter of the user's that raises must not end the process it speaks of
        logging.getLogger("oxherd").error("a log record could not be handled: %s", type(error).__name__)
