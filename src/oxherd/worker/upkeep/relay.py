"""Sends what a queue's outbox holds to the queues of other events, at least once; one id makes one event in a day."""

from __future__ import annotations

import asyncio
import random

from oxherd.bullmq.outbox import Entry, Message, Outbox
from oxherd.declaration import RelayTarget, is_name
from oxherd.errors import OxherdError, RedisUnavailable
from oxherd.redis.call_state import Unconfirmed
from oxherd.redis.client import ScriptError
from oxherd.redis.retry import retry_delay
from oxherd.signals import ErrorInfo
from oxherd.worker.background_loop import BackgroundLoop
from oxherd.worker.fault_reporter import FaultReporter
from oxherd.worker.served_queue import ServedQueue

_SWEEP_SECONDS = 10.0
# What has been in the outbox for so long was left by a worker that died, or that had too much to send.
_LEFT_MS = 10_000
_BATCH = 32
_MOST_PENDING = 1_000
# Of one sweep, so that the messages of a target that is away are not read again and again.
_MOST_SCANNED = 4_000
_LONGEST_PAUSE = 5.0
_MOST_UNKNOWN = 16


class _Sender:
    """Sends one target's messages, in batches, again until the target's server has taken them."""

    def __init__(self, target: RelayTarget, outbox: Outbox, faults: FaultReporter) -> None:
        self._target = target
        self._outbox = outbox
        self._faults = faults
        self._pending: dict[str, None] = {}
        self._task: asyncio.Task[None] | None = None
        self._rested = asyncio.Event()

    def offer(self, message_id: str) -> None:
        """Send a message soon; one too many is left to a sweep."""
        if len(self._pending) < _MOST_PENDING:
            self._pending[message_id] = None
        if self._task is None or self._task.done():
            self._rested.clear()
            self._task = asyncio.get_running_loop().create_task(self._send(), name=f"oxherd-send-{self._target.name}")

    async def rested(self) -> None:
        """Wait until everything is sent, or something could not be."""
        if self._task is not None and not self._task.done():
            await self._rested.wait()

    async def stop(self) -> None:
        """Leave what is not sent to others."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _send(self) -> None:
        failures = 0
        try:
            while self._pending:
                batch = list(self._pending)[:_BATCH]
                if await self._send_batch(batch):
                    failures = 0
                    continue
                self._rested.set()
                failures += 1
                await asyncio.sleep(retry_delay(failures, longest=_LONGEST_PAUSE))
        finally:
            self._rested.set()

    async def _send_batch(self, ids: list[str]) -> bool:
        """Whether any of them need not be tried again soon; the others are."""
        try:
            messages = await self._outbox.read(ids)
            # At once, so that they go with one script where they go to one queue.
            errors = await asyncio.gather(*(self._emit(message) for message in messages))
            sent = [message.id for message, error in zip(messages, errors, strict=True) if error is None]
            if sent:
                await self._outbox.remove(sent)
        except RedisUnavailable:  # the source's own server: reported as an outage
            return False
        except ScriptError as error:
            self._faults.lasting("emit", error)
            return False
        unsent = [message.id for message, error in zip(messages, errors, strict=True) if _may_pass(error)]
        for each in ids:
            del self._pending[each]
        # Behind the others, and not so many that they take the room of new ones.
        room = max(0, _MOST_PENDING // 2 - len(self._pending))
        self._pending |= dict.fromkeys(unsent[:room])
        failed = next((error for error in errors if error is not None), None)
        if failed is None:
            self._faults.mended("emit")
        else:
            self._faults.lasting("emit", failed)
        return len(unsent) < len(ids)

    async def _emit(self, message: Message) -> Exception | None:
        try:
            await self._target.relay(message.id, message.data, message.metadata)
        except (OxherdError, ScriptError, Unconfirmed, TimeoutError) as error:
            return error
        return None


def _may_pass(error: Exception | None) -> bool:
    """Whether an error may be over soon, as an outage; what a target refuses is left to the next sweep."""
    return error is not None and (isinstance(error, RedisUnavailable) or not isinstance(error, OxherdError))


class Relay(BackgroundLoop):
    """One queue's. What its worker has written is sent at once; the loop sweeps up what others have left.

    Messages for events that nothing here names are left to other workers.
    """

    def __init__(self, served: ServedQueue) -> None:
        super().__init__(f"oxherd-relay-{served.queue.keys.queue}")
        self._served = served
        self._queue = served.queue
        self._outbox = Outbox(served.queue.client, served.queue.keys)
        self._senders: dict[str, _Sender] = {}
        self._unknown: set[str] = set()
        self._cursor = 0
        self._sweeps = False
        served.outgoing.listener = self._written

    def start_if_needed(self) -> None:
        """Begin to sweep, if an event of the queue has an `on_failed`; may be called again."""
        if not self._sweeps and self._targets():
            self._sweeps = True
            self.start()

    async def run(self) -> None:
        """Sweep until cancelled, through outages."""
        while True:
            try:
                await self._sweep()
            except RedisUnavailable:  # reported as an outage
                pass
            except ScriptError as error:
                self._served.faults.lasting("emit", error)
            # Workers that have started together must not sweep together.
            await asyncio.sleep(_SWEEP_SECONDS * random.uniform(0.7, 1.0))  # noqa: S311 - keeps no secret

    async def finish(self, seconds: float) -> None:
        """Stop: what is on its way gets so long, the rest is left to others."""
        self._served.outgoing.listener = None
        if self._sweeps:
            await self.stop()
        waits = [asyncio.ensure_future(sender.rested()) for sender in self._senders.values()]
        if waits:
            await asyncio.wait(waits, timeout=seconds)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*(sender.stop() for sender in self._senders.values()))

    def _written(self, message: Message) -> None:
        self.start_if_needed()
        sender = self._sender(message.target)
        if sender is not None:
            sender.offer(message.id)

    async def _sweep(self) -> None:
        now = await self._queue.server_ms()
        scanned = 0
        while True:
            self._cursor, entries = await self._outbox.scan(self._cursor, _BATCH)
            touched: set[_Sender] = set()
            for entry in entries:
                sender = self._sender_of(entry) if now - entry.written_ms >= _LEFT_MS else None
                if sender is not None:
                    sender.offer(entry.id)
                    touched.add(sender)
            await asyncio.gather(*(sender.rested() for sender in touched))
            scanned += len(entries)
            if self._cursor == 0 or scanned >= _MOST_SCANNED:
                return

    def _sender_of(self, entry: Entry) -> _Sender | None:
        message = entry.message
        sender = None if message is None else self._sender(message.target)
        if sender is None:
            named = message.target if message is not None and is_name(message.target) else ""
            self._leave(named)
        return sender

    def _leave(self, target: str) -> None:
        """Report once what is left to others."""
        if target in self._unknown or len(self._unknown) >= _MOST_UNKNOWN:
            return
        self._unknown.add(target)
        what = (
            f"messages for {target}, which is no event's on_failed here" if target else "a message that cannot be read"
        )
        text = f"the queue's outbox holds {what}; it is left to workers that know better"
        self._served.faults.of_queue("emit", ErrorInfo("UnknownTarget", text))

    def _targets(self) -> dict[str, RelayTarget]:
        targets = (each.on_failed for each in self._served.declared())
        return {target.name: target for target in targets if target is not None}

    def _sender(self, name: str) -> _Sender | None:
        sender = self._senders.get(name)
        if sender is None and (target := self._targets().get(name)) is not None:
            # Of its own, since what is mended for one target lasts for another.
            faults = FaultReporter(self._queue.keys.queue, self._served.signals)
            sender = self._senders[name] = _Sender(target, self._outbox, faults)
        return sender
