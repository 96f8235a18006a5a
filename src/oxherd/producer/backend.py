"""One event loop's client, and the queues reached through it."""

from __future__ import annotations

from collections.abc import Callable

from oxherd.answers.job_answers import QueueAnswers
from oxherd.bullmq.keys import QueueKeys, has_hash_tag
from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.schedulers import Schedulers
from oxherd.bullmq.shard_registry import ShardRegistry
from oxherd.declaration import Declaration
from oxherd.errors import ConfigError
from oxherd.producer.shard_router import ShardRouter
from oxherd.redis.client import Client
from oxherd.redis.outage import Outages
from oxherd.redis.url import RedisURL


class Backend:
    """A client bound to one event loop, with what belongs to its queues, each made once."""

    def __init__(
        self,
        url: RedisURL,
        prefix: str,
        outages: Outages,
        *,
        batched: bool,
        restart: Callable[[], None] | None = None,
    ) -> None:
        self.client = Client(url, outages, restart)
        self._prefix = prefix
        self._batched = batched
        self._queues: dict[str, BullQueue] = {}
        self._registries: dict[str, ShardRegistry] = {}
        self._routers: dict[str, ShardRouter] = {}
        self._answers: dict[BullQueue, QueueAnswers] = {}

    def queue(self, declaration: Declaration) -> BullQueue:
        """Return an event's queue; for a sharded event, that of its first shard.

        Raises:
            ConfigError: on a cluster, neither the queue's name nor the prefix has a hash tag.
        """
        queue = self._queues.get(declaration.queue)
        if queue is None:
            self._require_hash_tag(declaration)
            queue = self.queue_named(declaration.queue)
        return queue

    def queue_named(self, name: str) -> BullQueue:
        """Return the queue of that name, without checking it for a hash tag."""
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = BullQueue(self.client, QueueKeys(self._prefix, name), batched=self._batched)
        return queue

    def _require_hash_tag(self, declaration: Declaration) -> None:
        queue = declaration.queue
        if self.client.url.topology == "cluster" and not has_hash_tag(f"{self._prefix}:{queue}"):
            raise ConfigError(
                f"{declaration.name}: on a Redis Cluster the queue {queue!r} needs a hash tag; "
                f"name it '{{{queue}}}', or give the herd a prefix such as '{{bull}}'."
            )

    def schedulers(self, queue: BullQueue) -> Schedulers:
        """Return a queue's job schedulers."""
        return Schedulers(self.client, queue.keys)

    def shard_registry(self, declaration: Declaration) -> ShardRegistry:
        """Return the shard counts of an event that has a queue of its own."""
        registry = self._registries.get(declaration.name)
        if registry is None:
            registry = ShardRegistry(self.client, self.queue(declaration).keys, declaration)
            self._registries[declaration.name] = registry
        return registry

    def shard_router(self, declaration: Declaration) -> ShardRouter:
        """Return the router of an event that has a queue of its own."""
        router = self._routers.get(declaration.name)
        if router is None:
            registry = self.shard_registry(declaration)
            router = self._routers[declaration.name] = ShardRouter(declaration, registry, self.queue_named)
        return router

    def answers(self, queue: BullQueue) -> QueueAnswers:
        """Return what waits for the ends of a queue's jobs."""
        answers = self._answers.get(queue)
        if answers is None:
            answers = self._answers[queue] = QueueAnswers(queue)
        return answers

    async def close(self) -> None:
        """Close every connection."""
        for registry in self._registries.values():
            registry.close()
        for answers in self._answers.values():
            await answers.close()
        await self.client.close()
