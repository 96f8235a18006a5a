"""Sends batches of calls with one script: at once over a live connection, and from a task if that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from oxherd.bullmq.scripts import script
from oxherd.errors import RedisUnavailable
from oxherd.redis.client import Argument, CallState, Client, SentScript
from oxherd.redis.error_mapping import unreachable

Arguments = tuple[Argument, ...]
Waiting = list[asyncio.Future[Any]]
Deliver = Callable[[Any], None]


class BatchSender:
    """Sends one queue's batches; a batch's reply is delivered, or its error given to the futures that wait."""

    def __init__(self, client: Client, slot: int, script_name: str) -> None:
        self._client = client
        self._slot = slot
        self._script_name = script_name
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, arguments: Arguments, waiting: Waiting, deliver: Deliver, state: CallState | None = None) -> bool:
        """Send a batch at once; False if there is no connection."""
        client = self._client
        sent = client.send(self._slot, script(self._script_name), arguments)
        if sent is None:
            return False
        if state is not None:
            state.maybe_applied = True

        def done(reply: asyncio.Future[Any]) -> None:
            if reply.cancelled() or reply.exception() is not None or client.outages.open:
                self.start(self.call(arguments, waiting, deliver, state, sent))
            else:
                deliver(reply.result())

        sent.reply.add_done_callback(done)
        return True

    async def call(
        self,
        arguments: Arguments,
        waiting: Waiting,
        deliver: Deliver,
        state: CallState | None = None,
        sent: SentScript | None = None,
        confirm_by: float | None = None,
    ) -> None:
        """Call the script as `Client.script` does, in one attempt."""
        if state is not None and sent is not None:
            state.maybe_applied = False  # the client finds out
        called = script(self._script_name)
        try:
            reply = await self._client.script(
                self._slot, called, arguments, state=state, sent=sent, confirm_by=confirm_by
            )
        except asyncio.CancelledError:
            # With the whole loop: its callers may go on, and find their answer lost.
            fail(waiting, lost(self._client))
            raise
        except Exception as error:  # noqa: BLE001 - each of the callers gets it
            fail(waiting, error)
        else:
            deliver(reply)

    def start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine in a task, kept until it ends."""
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def lost(client: Client) -> RedisUnavailable:
    """The error of callers whose answer nobody waits for any more."""
    return unreachable(str(client.url), "the event loop ends", maybe_applied=True)


def fail(waiting: Waiting, error: Exception) -> None:
    """Give an error to the callers that still wait."""
    for future in waiting:
        if not future.done():
            future.set_exception(error)
