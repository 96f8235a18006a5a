"""What `herd.admin` works on: a herd, the queues of its events, and which event a job is one of."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast
from uuid import UUID

from oxherd.bullmq.job import event_id_text
from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.shards import shard_queues
from oxherd.bullmq.worker_info import WorkerInfo
from oxherd.errors import OxherdError, UsageError
from oxherd.event import Event
from oxherd.producer.backend import Backend
from oxherd.producer.delivery import Delivery
from oxherd.redis.client import ScriptError
from oxherd.redis.retry import retry_until

T = TypeVar("T")


class Herd(Protocol):
    """What is needed of an `Oxherd`."""

    prefix: str
    delivery: Delivery | None
    emit_timeout: float

    def __iter__(self) -> Iterator[Event[Any, Any]]: ...
    def __getitem__(self, name: str) -> Event[Any, Any]: ...
    async def backend(self) -> Backend: ...
    async def workers(self) -> list[WorkerInfo]: ...
    def run_sync(self, coroutine: Coroutine[Any, Any, T]) -> T: ...


@dataclass(frozen=True)
class Place:
    """A queue, the events whose jobs are in it, and the name of those that are meant; "" for all."""

    queue: BullQueue
    events: tuple[Event[Any, Any], ...]
    name: str = ""

    def event_of(self, job_name: str) -> Event[Any, Any] | None:
        """The event that a job of that name is one of."""
        return next((event for event in self.events if event.name == job_name), None)

    def event_id(self, job_id: bytes) -> UUID:
        """The UUID of a job."""
        return UUID(event_id_text(self.queue.keys.queue, job_id.decode("utf-8", "backslashreplace")))


async def connected(herd: Herd) -> Backend:
    """The running loop's backend; raises UsageError while a test keeps the herd's emits."""
    if herd.delivery is not None:
        raise UsageError("herd.admin needs a server, and a test keeps this herd's emits; ask outside of that.")
    return await herd.backend()


async def places(herd: Herd, event: str | None = None) -> list[Place]:
    """The queues of one event, or of all, each once. Command: ZSCORE for each event with a queue of its own."""
    backend = await connected(herd)
    if event is not None:
        return await event_places(herd, backend, herd[event])
    found = await asyncio.gather(*(event_places(herd, backend, each) for each in herd))
    by_queue: dict[str, Place] = {}
    for place in (place for each in found for place in each):
        by_queue[place.queue.keys.queue] = Place(place.queue, place.events)
    return list(by_queue.values())


async def event_places(herd: Herd, backend: Backend, event: Event[Any, Any]) -> list[Place]:
    """The queues of one event, its shards in order."""
    declaration = event.declaration
    home = backend.queue(declaration)
    if not declaration.own_queue:
        sharing = tuple(each for each in herd if each.declaration.queue == declaration.queue)
        return [Place(home, sharing, event.name if len(sharing) > 1 else "")]
    most = await asked(herd, home, backend.shard_registry(declaration).most)
    # To name many for the first time takes long.
    names = await asyncio.to_thread(shard_queues, declaration.name, most) if most > 1 else ()
    return [Place(home, (event,)), *(Place(backend.queue_named(name), (event,)) for name in names[1:])]


async def all_of(calls: Iterable[Awaitable[T]]) -> list[T]:
    """The results of calls that run at once; an error is raised once the last of them has ended."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return cast("list[T]", results)


async def asked(herd: Herd, queue: BullQueue, attempt: Callable[[], Awaitable[T]]) -> T:
    """The result of a call to a queue, retried through outages for the herd's `emit_timeout`.

    Raises:
        RedisUnavailable: the server was away for so long.
        OxherdError: a key of the queue is damaged.
    """
    try:
        return await retry_until(time.monotonic() + herd.emit_timeout, attempt)
    except ScriptError as error:
        why = str(error).rstrip(".")
        raise OxherdError(f"The queue {queue.keys.queue} cannot be read or changed ({why}); mend that key.") from None
