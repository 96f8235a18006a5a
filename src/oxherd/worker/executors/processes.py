"""The worker's side of `run_in="process"`: starts processes on demand, reuses them, kills those that do not end."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import socket
import subprocess
from dataclasses import asdict
from typing import Any

from oxherd.context import Cancelled, Context, Reason, enabled_logger
from oxherd.declaration import Declaration
from oxherd.errors import ConfigError, OxherdError
from oxherd.handler import Handler
from oxherd.lineage import Lineage
from oxherd.process import Process
from oxherd.resources.declared import Resources
from oxherd.resources.lifespan import CLOSE_SECONDS
from oxherd.signals import ErrorInfo
from oxherd.worker.executors import log_forwarding
from oxherd.worker.executors.handler_reference import handler_reference
from oxherd.worker.executors.interpreter import module_command
from oxherd.worker.executors.protocol import Message, ProtocolError, pack, read, verdict_of
from oxherd.worker.running.execution import HandlerRun
from oxherd.worker.running.failure import Raised
from oxherd.worker.running.result import JSONResult

# What a cancelled handler gets to end by itself, then what its killed process gets to be gone: together less than what
# a stop waits for (`_CLEAN_UP_SECONDS`).
_GRACE_SECONDS = 0.2
_GONE_SECONDS = 0.2
# Importing the user's modules may take this long, and leaving when told to.
_START_SECONDS = 60.0
_LEAVE_SECONDS = 1.0
_MIB = 1024**2
_UNEXPECTED = "the process of the handler gave an answer that nobody asked for"
# Blocked in a new process until it has handlers for them.
_FOR_THE_WORKER = (signal.SIGINT, signal.SIGTERM)


class HandlerDied(OxherdError):
    """The process of a handler ended before its handler did, or could not be started."""


class ProcessExecutor:
    """Runs a `def` in processes, at most as many as the event's concurrency."""

    def __init__(self, declaration: Declaration, handler: Handler, resources: Resources) -> None:
        self._declaration = declaration
        self._handler = handler
        self._application = resources.application
        self._leave_seconds = _LEAVE_SECONDS + (CLOSE_SECONDS if resources.lifespans else 0)
        self._limiter = asyncio.Semaphore(declaration.concurrency)
        self._idle: list[_HandlerProcess] = []
        self._all: set[_HandlerProcess] = set()
        self._leaving: set[asyncio.Task[None]] = set()

    async def call(self, run: HandlerRun, payload: Any, /) -> JSONResult | Raised:
        """Run the handler in a process, which decodes the payload from the job's own JSON; its result, or its error.

        A handler that is cancelled and does not end at once is killed with its process.
        """
        del payload
        # Starting a process is not the handler's time; middleware has had some.
        left = run.seconds_left
        run.set_timeout(None)
        async with self._limiter:
            try:
                process = await self._take()
                run.set_timeout(self._declaration.timeout, left)
                return await self._run_in(process, run)
            except (HandlerDied, ConfigError) as error:
                return run.describe_death(error)

    async def _run_in(self, process: _HandlerProcess, run: HandlerRun) -> JSONResult | Raised:
        try:
            return await process.run(run)
        finally:
            if not process.alive:
                self._all.discard(process)
            elif (why := process.outlived(self._handler.process)) is not None:
                self._replace(process, why)
            else:
                self._idle.append(process)

    def _replace(self, process: _HandlerProcess, why: str) -> None:
        """Let a process leave in the background; the next event starts another."""
        enabled_logger().info("a process of %s leaves: %s", self._declaration.name, why)
        self._all.discard(process)
        # In an empty context: the event that it has run ends meanwhile.
        left = process.leave(self._leave_seconds)
        leaving = asyncio.get_running_loop().create_task(left, context=contextvars.Context())
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def close(self) -> None:
        """End all processes: idle ones leave, others are killed."""
        processes, self._all, self._idle = self._all, set(), []
        await asyncio.gather(*(process.leave(self._leave_seconds) for process in processes), *self._leaving)

    async def _take(self) -> _HandlerProcess:
        while self._idle:
            if (process := self._idle.pop()).alive:
                return process
            self._all.discard(process)
        measure = self._handler.process.max_memory is not None
        reference = handler_reference(self._handler.function, self._application)
        hello = reference | {"levels": log_forwarding.levels(), "measure": measure}
        process = await _HandlerProcess.start(self._declaration.name, hello)
        self._all.add(process)
        return process


class _HandlerProcess:
    """One process, as the worker sees it: it runs one event at a time."""

    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._writer = writer
        self._killed = False
        self._garbled = False
        self._runs = 0
        self._resident = 0  # bytes, at the end of the last run
        self._context: Context | None = None
        self._reply: asyncio.Future[Message] | None = None
        self._storing: set[asyncio.Task[None]] = set()
        # In an empty context: the process outlives the event that it is started for.
        self._listening = asyncio.get_running_loop().create_task(
            self._listen(reader), name=f"oxherd-child-{process.pid}", context=contextvars.Context()
        )

    @classmethod
    async def start(cls, event: str, hello: Message) -> _HandlerProcess:
        """Start a process and wait until it has imported the handler."""
        popen, connection = _spawn(event)
        process = cls(popen, *await asyncio.open_connection(sock=connection))
        try:
            async with asyncio.timeout(_START_SECONDS):
                reply = await process._ask(hello | {"kind": "hello", "event": event})
        except TimeoutError:
            process.kill()
            raise HandlerDied(f"the process of the handler was not ready within {_START_SECONDS:g} s") from None
        except BaseException:
            process.kill()
            raise
        if reply["kind"] != "ready":
            await process.leave()
            raise ConfigError(reply.get("message", _UNEXPECTED))
        return process

    @property
    def alive(self) -> bool:
        """Whether it can take an event."""
        return not self._killed and not self._listening.done() and self._process.poll() is None

    def outlived(self, limits: Process) -> str | None:
        """Why it is to take no other event; None if it may."""
        if limits.max_events is not None and self._runs >= limits.max_events:
            return f"it has run {self._runs} event{'s' if self._runs > 1 else ''}"
        if limits.max_bytes is not None and self._resident > limits.max_bytes:
            return f"it holds {self._resident / _MIB:.0f} MiB of memory"
        return None

    async def run(self, run: HandlerRun) -> JSONResult | Raised:
        """Run the handler for one event."""
        self._runs += 1
        context = self._context = run.context
        try:
            reply = self._ask(_run_message(run))
            try:
                await asyncio.wait([reply])
            except asyncio.CancelledError:
                if not await self._replied_in_time(reply, context):
                    reply.cancel()
                    self.kill()
                    await asyncio.wait([self._listening], timeout=_GONE_SECONDS)
                    raise
            return result_of(reply.result())
        finally:
            self._context = self._reply = None
            for task in self._storing:
                task.cancel()

    def kill(self) -> None:
        """End it now, with all that it has forked or started."""
        self._killed = True
        if self._process.poll() is None:
            # Not reaped yet: its group is still its own.
            os.killpg(self._process.pid, signal.SIGKILL)

    async def leave(self, seconds: float = _LEAVE_SECONDS) -> None:
        """Let it leave if it is idle; kill it if it is not, or takes longer than that."""
        if self._killed or self._context is not None:
            self.kill()
        else:
            self._send({"kind": "leave"})
            await asyncio.wait([self._listening], timeout=seconds)
            if not self._listening.done():
                self.kill()
        await asyncio.wait([self._listening])

    async def _replied_in_time(self, reply: asyncio.Future[Message], context: Context) -> bool:
        loop = asyncio.get_running_loop()
        end = loop.time() + _GRACE_SECONDS
        while not reply.done() and (left := end - loop.time()) > 0:
            self._send({"kind": "cancel", **_reason_fields(context.cancelled)})
            try:
                await asyncio.wait([reply], timeout=left)
            except asyncio.CancelledError:
                continue  # cancelled again, for a graver reason; the grace period goes on
        return reply.done()

    def _ask(self, message: Message) -> asyncio.Future[Message]:
        self._reply = asyncio.get_running_loop().create_future()
        if self._listening.done():
            self._reply.set_exception(HandlerDied(self._death()))
        self._send(message)
        return self._reply

    def _send(self, message: Message) -> None:
        self._writer.write(pack(message))

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while (message := await read(reader)) is not None:
                self._receive(message)
            await self._reap()
        except ProtocolError:
            self._garbled = True
        finally:
            if self._process.poll() is None:
                # The loop itself ends, or the process has broken the protocol.
                self.kill()
                self._process.wait()
            self._writer.close()
            if self._reply is not None and not self._reply.done():
                self._reply.set_exception(HandlerDied(self._death()))

    async def _reap(self) -> None:
        """Wait for the process to end, once its side of the connection has."""
        end = asyncio.get_running_loop().time() + _GONE_SECONDS
        while self._process.poll() is None:
            if asyncio.get_running_loop().time() > end:
                # Its code has closed the connection and goes on.
                self.kill()
            await asyncio.sleep(0.002)

    def _receive(self, message: Message) -> None:
        kind = message["kind"]
        if kind == "log":
            log_forwarding.log_record(message)
        elif kind == "memory":
            self._resident = message["resident"]
        elif kind in ("progress", "note"):
            task = asyncio.get_running_loop().create_task(self._store(kind, message))
            self._storing.add(task)
            task.add_done_callback(self._storing.discard)
        elif self._reply is not None and not self._reply.done():
            self._reply.set_result(message)

    async def _store(self, kind: str, message: Message) -> None:
        context = self._context
        # A thread of a handler may outlive its event; its progress must not become the next one's.
        refusal: str | None = f"The {kind} was not stored: the event has ended."
        try:
            if context is not None and (context.event_id, context.fence) == (message["id"], message["fence"]):
                await (context.note if kind == "note" else context.progress)(message["value"])
                refusal = None
        except OxherdError as error:
            refusal = str(error)
        finally:
            # Whatever happens: the handler blocks until it hears.
            self._send({"kind": "stored", "error": refusal})

    def _death(self) -> str:
        if self._garbled:
            return "the process of the handler wrote to its connection with the worker, and was killed"
        status = self._process.returncode
        how = f"signal {-status}" if status is not None and status < 0 else f"exit status {status}"
        return f"the process of the handler died ({how})"


def _spawn(event: str) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a process; returns it with the worker's end of their connection."""
    ours, theirs = socket.socketpair()
    # The event is there for `ps`.
    arguments = [str(theirs.fileno()), str(os.getpid()), event]
    command = module_command("oxherd.worker.executors.child", *arguments)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_THE_WORKER)
    try:
        # In the loop's own thread: Linux ties a child's death to the thread that started it. In a group of its own, so
        # that what its handler forks can be killed with it.
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], process_group=0)
    except BaseException:
        ours.close()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
    return process, ours


def _run_message(run: HandlerRun) -> Message:
    context = run.context
    assert context.withheld is not None  # noqa: S101 - set before the run begins
    data, shown, privacy = context.withheld
    lineage = context.lineage
    if run.span is not None and (own := run.span.trace) is not None:
        lineage = Lineage(lineage.caused_by, lineage.root, own)
    return {
        "kind": "run",
        "id": context.event_id,
        "attempt": context.attempt,
        "fence": context.fence,
        "emitted_ms": run.execution.job.timestamp_ms,
        "carried": lineage.to_json(),
        "payload": data.decode(),
        "shown": None if shown is None else shown.decode(),
        "declared": privacy.declared,
        "ask_backoff": run.asks_backoff,
    }


def result_of(reply: Message) -> JSONResult | Raised:
    """What a handler returned or raised; raises HandlerDied if the reply is neither."""
    if reply["kind"] == "returned":
        return JSONResult(_text(reply["result"]).encode(), reply["dropped"])
    if reply["kind"] != "raised":
        raise HandlerDied(_UNEXPECTED)
    error = ErrorInfo(_text(reply["type"]), _text(reply["message"]), list(map(str, reply["stack"])))
    return Raised(error, verdict_of(reply), cancelled=reply["cancelled"])


def _text(received: str) -> str:
    # A lone surrogate could not be sent to Redis.
    return received.encode("utf-8", "replace").decode()


def _reason_fields(reason: Reason | None) -> Message:
    """What the process makes the reason of again."""
    reason = reason or Cancelled()
    return {"reason": type(reason).__name__, "fields": asdict(reason)}
