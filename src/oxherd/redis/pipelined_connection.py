"""Implicit pipelining: calls made in the same turn of the event loop are sent with one write, over one connection.

Nothing that blocks in the server may be sent here.
"""

from __future__ import annotations

import asyncio
import math
import time
import types
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context
from functools import partial
from typing import Any, cast

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

from oxherd.redis.connection import SILENCE_SECONDS, close_connection, send
from oxherd.redis.error_mapping import unreachable
from oxherd.redis.futures import mark_retrieved

pack: Callable[[tuple[str | bytes | int | float, ...]], bytes] = cast("Any", hiredis).pack_command  # its stub: one word

_CHECK_SECONDS = 1.0
_SOON_SECONDS = 0.1


class PipelinedConnection:
    """A connection that all callers share; once lost it stays lost, and its owner opens another."""

    def __init__(self, connection: AbstractConnection, node: str, on_lost: Callable[[BaseException], None]) -> None:
        self._connection = connection
        self._node = node
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._buffer: list[bytes] = []
        self._pending: deque[asyncio.Future[Any]] = deque()
        self._waiting_since = 0.0
        self._wakeup: asyncio.Future[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self.alive = True
        self.opened = time.monotonic()
        self.useless = False  # lost at once, or with calls, before it gave a single reply
        self._answered = False
        self._reader = self._start(self._read, f"oxherd-read-{node}")
        self._writer = self._start(self._write, f"oxherd-write-{node}")
        self._checked = self._loop.time()
        self._check_timer = self._loop.call_later(_CHECK_SECONDS, self._check)

    def _start(self, run: Callable[[], Coroutine[Any, Any, None]], name: str) -> asyncio.Task[None]:
        task = self._loop.create_task(run(), name=name, context=Context())
        task.add_done_callback(self._restart)
        return task

    def _restart(self, task: asyncio.Task[None]) -> None:
        # A loop that ends cancels every task; what others then do at last needs the connection until it is closed.
        if task.cancelled() and self.alive:
            if task is self._reader:
                self._reader = self._start(self._read, task.get_name())
            else:
                self._writer = self._start(self._write, task.get_name())

    def send(self, packed: bytes, replies: int = 1, *, at_once: bool = False) -> asyncio.Future[Any]:
        """Queue packed commands for the write at the end of this turn; returns the last reply.

        `at_once`: write what is queued now. The server then works on it while we are busy with the rest of the turn.

        The future's exception is redis-py's `ResponseError` if the server replied with an error, and RedisUnavailable
        if the connection was lost before the reply.
        """
        if not self.alive:
            raise unreachable(self._node, "the connection is closed", maybe_applied=False)
        create_future = self._loop.create_future
        pending = self._pending
        if not pending:
            self._waiting_since = self._loop.time()
        for _ in range(replies - 1):
            leading = create_future()
            leading.add_done_callback(mark_retrieved)
            pending.append(leading)
        future = create_future()
        pending.append(future)
        self._buffer.append(packed)
        if at_once:
            self._flush()
        if self._buffer:
            self._wake_writer()
        return future

    def _wake_writer(self) -> None:
        wakeup = self._wakeup
        if wakeup is not None:
            self._wakeup = None
            if not wakeup.done():
                wakeup.set_result(None)

    def _flush(self) -> None:
        if self._writing or not self._connection.is_connected:
            return
        data = b"".join(self._buffer)
        self._buffer.clear()
        sending = send(self._connection, data)
        try:
            paused_on = sending.send(None)
        except StopIteration:
            return  # the socket took all of it
        except (RedisError, OSError) as error:
            self._fail(error)
            return
        self._writing = self._loop.create_task(self._finish_write(_resume(sending, paused_on)))

    async def _finish_write(self, rest: Awaitable[None]) -> None:
        try:
            await rest
        except (RedisError, OSError) as error:
            self._fail(error)
        finally:
            self._writing = None
            self._wake_writer()

    async def close(self) -> None:
        """Close the connection; calls without a reply fail as lost."""
        self._fail(ConnectionAbortedError("closed by oxherd"), report=False)
        for task in (self._reader, self._writer):
            if task is not asyncio.current_task():
                await asyncio.wait([task])
        await close_connection(self._connection)

    async def _write(self) -> None:
        buffer = self._buffer
        connection = self._connection
        try:
            while self.alive:
                if not buffer or self._writing is not None:
                    self._wakeup = self._loop.create_future()
                    await self._wakeup
                    continue
                data = b"".join(buffer)
                buffer.clear()
                # redis-py would reconnect by itself, and replies would no longer match calls.
                if not connection.is_connected:
                    break
                await send(connection, data)
        except (RedisError, OSError) as error:
            self._fail(error)

    async def _read(self) -> None:
        read = cast("Any", self._connection).read_response
        pending = self._pending
        now = self._loop.time
        try:
            while self.alive:
                error: ResponseError | None = None
                reply: Any = None
                try:
                    reply = await read(timeout=math.inf, disconnect_on_error=False)
                except ResponseError as refusal:
                    error = refusal
                self._waiting_since = now()
                self._answered = True
                future = pending.popleft()
                if future.done():
                    continue
                if error is None:
                    future.set_result(reply)
                else:
                    future.set_exception(error)
        except (RedisError, OSError, IndexError) as broken:
            await close_connection(self._connection)
            self._fail(broken)
        finally:
            # Lost while it waited: nobody else closes it.
            if not self.alive:
                await close_connection(self._connection)

    def _check(self) -> None:
        if not self.alive:
            return
        now = self._loop.time()
        late, self._checked = now - self._checked > 2 * _CHECK_SECONDS, now
        # If the loop was held up, first read what has arrived meanwhile.
        if self._pending and not late and now - self._waiting_since > SILENCE_SECONDS:
            self._fail(TimeoutError(f"no reply for {SILENCE_SECONDS:.0f} seconds"))
            return
        self._check_timer = self._loop.call_later(_CHECK_SECONDS, self._check)

    def _fail(self, error: BaseException, *, report: bool = True) -> None:
        if not self.alive:
            return
        self.alive = False
        soon = time.monotonic() < self.opened + _SOON_SECONDS
        self.useless = not self._answered and (soon or bool(self._pending))
        self._check_timer.cancel()
        self._buffer.clear()
        for future in self._pending:
            if not future.done():
                future.set_exception(unreachable(self._node, error, maybe_applied=True))
        self._pending.clear()
        current = asyncio.current_task()
        for task in (self._reader, self._writer):
            if task is not current:
                task.cancel()
        if report:
            self._on_lost(error)


@types.coroutine
def _resume(coroutine: Coroutine[Any, Any, None], paused_on: Any) -> Generator[Any, Any, None]:
    """The rest of a coroutine that was started by hand and is suspended."""
    while True:
        try:
            value = yield paused_on
        except BaseException as error:  # noqa: BLE001 - passed on into the coroutine
            step = partial(coroutine.throw, error)
        else:
            step = partial(coroutine.send, value)
        try:
            paused_on = step()
        except StopIteration:
            return
