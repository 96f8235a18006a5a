"""Which numbers of shards an event is emitted with: stored in Redis, so that workers find every queue of the event.

The number is part of each process's code and changes while processes of both kinds run and events wait. An emitter
therefore says its number before its first event, and again every hour; a worker serves every number that was said.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

from oxherd.declaration import MOST_SHARDS
from oxherd.errors import RedisUnavailable
from oxherd.queue.keys import QueueKeys
from oxherd.queue.scripts import announce_layout, forget_layout
from oxherd.queue.shards import shard_queues
from oxherd.redis.client import Client, ScriptError
from oxherd.redis.faults import lost

# One copy beside the event's own queue, where the workers of an event without shards look, and three more in three
# parts of the slots. One of them is enough, so a primary that is away stops nobody.
_COPIES = (1, 3)
_AGAIN_SECONDS = 3600.0
_ANSWER_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Layout:
    """A number of shards, since when it is the latest, and when it was last said, in milliseconds of the server."""

    shards: int
    since_ms: int
    said_ms: int


class Layouts:
    """The numbers of shards of one event. Keys: `layouts` of four queues; command HGETALL, two scripts of ours."""

    def __init__(self, client: Client, prefix: str, event: str) -> None:
        self._client = client
        self._places = [QueueKeys(prefix, queue) for shards in _COPIES for queue in shard_queues(event, shards)]
        self._said: dict[int, float] = {}
        self._claimed: set[int] = set()
        self._under_way: dict[tuple[int, bool], asyncio.Task[None]] = {}
        self._saying: set[asyncio.Task[None]] = set()

    async def say(self, shards: int, *, latest: bool = False) -> None:
        """Say that events are emitted with so many shards, unless that was said within the hour; waits for one copy.

        `latest`: at this process's first time, make it the latest number (an emitter does; a worker may be an old one
        that was only started again).

        Raises:
            RedisUnavailable: the connection was closed meanwhile.
            ScriptError: the copies are damaged.
        """
        said = self._said.get(shards)
        fresh = said is not None and time.monotonic() - said < _AGAIN_SECONDS
        claims = latest and shards not in self._claimed
        if fresh and not claims:
            return
        key = (shards, claims)
        task = self._under_way.get(key)
        if task is None or task.done():
            task = self._under_way[key] = self._keep(self._say(shards, claims))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if task.cancelled() and current is not None and not current.cancelling():
                raise lost("the cluster", "the connection is closed", maybe_applied=False) from None
            raise

    async def known(self, *, all_copies: bool) -> list[Layout]:
        """Every number of shards that was said and not forgotten, the oldest first.

        Copies that do not answer within half a second are left out; without `all_copies` only the first is asked.

        Raises:
            RedisUnavailable, ScriptError: none answered.
        """
        places = self._places if all_copies else self._places[:1]
        asked = [asyncio.ensure_future(self._client.call(keys.slot, "HGETALL", _key(keys))) for keys in places]
        try:
            await asyncio.wait(asked, timeout=_ANSWER_SECONDS)
        except asyncio.CancelledError:
            for task in asked:
                task.cancel()
            raise
        answers: list[list[bytes]] = []
        errors: list[BaseException] = []
        for task in asked:
            if not task.done():
                task.cancel()
            elif (error := task.exception()) is not None:
                errors.append(error)
            else:
                answers.append(task.result())
        if not answers:
            raise errors[0] if errors else RedisUnavailable("No copy answered.", source="command", node="")
        latest: dict[int, Layout] = {}
        for layout in (layout for answer in answers for layout in _read(answer)):
            seen = latest.get(layout.shards)
            if seen is None or layout.said_ms > seen.said_ms:
                latest[layout.shards] = layout
        return sorted(latest.values(), key=lambda layout: layout.since_ms)

    async def forget(self, layout: Layout, unsaid_ms: int) -> None:
        """Nobody uses that number any more: removed where it was not said for so many milliseconds."""
        for keys in self._places:
            await self._client.script(keys.slot, forget_layout(), (_key(keys), layout.shards, unsaid_ms))

    def close(self) -> None:
        """Leave off saying what only some copies have heard."""
        for task in self._saying:
            task.cancel()

    async def _say(self, shards: int, claims: bool) -> None:
        # Each copy is told as soon as it can be, however long that takes; the first that knows is enough to go on.
        tasks = [self._keep(self._say_at(keys, shards, claims)) for keys in self._places]
        failures: list[ScriptError] = []
        for answered in asyncio.as_completed(tasks):
            try:
                await answered
            except ScriptError as error:
                failures.append(error)
            else:
                self._said[shards] = time.monotonic()
                if claims:
                    self._claimed.add(shards)
                return
        raise failures[0]

    async def _say_at(self, keys: QueueKeys, shards: int, claims: bool) -> None:
        await self._client.persist(keys.slot, announce_layout(), (_key(keys), shards, "1" if claims else ""))

    def _keep(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(coroutine)
        self._saying.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._saying.discard(task)
        if not task.cancelled():
            task.exception()  # seen: an outage is reported where it happens, and another copy may have it


def _key(keys: QueueKeys) -> str:
    return f"{keys.base}layouts"


def _read(answer: list[bytes]) -> Iterator[Layout]:
    for name, value in zip(answer[::2], answer[1::2], strict=True):
        try:
            since, said = value.split(b":")
            layout = Layout(int(name), int(since), int(said))
        except ValueError:
            continue  # not written by us
        if 1 <= layout.shards <= MOST_SHARDS:
            yield layout
