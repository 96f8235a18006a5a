"""A herd's way to Redis: which server, one client for each event loop, the queues on it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from contextvars import Context
from typing import Any, TypeVar

from oxherd.bullmq.keys import QueueKeys, has_hash_tag
from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.schedulers import Schedulers
from oxherd.bullmq.shard_registry import ShardRegistry
from oxherd.declaration import Declaration
from oxherd.errors import ConfigError
from oxherd.producer.shard_router import ShardRouter
from oxherd.redis.client import Client
from oxherd.redis.outage import Outages
from oxherd.redis.tls import check_tls
from oxherd.redis.url import RedisURL, parse_url
from oxherd.servers.embedded import EmbeddedServer

T = TypeVar("T")


class Backend:
    """One event loop's client, and the queues that it has been asked for."""

    def __init__(self, url: RedisURL, prefix: str, outages: Outages, *, batched: bool) -> None:
        self.client = Client(url, outages)
        self._prefix = prefix
        self._batched = batched
        self._queues: dict[str, BullQueue] = {}
        self._registries: dict[str, ShardRegistry] = {}
        self._routers: dict[str, ShardRouter] = {}

    def queue(self, declaration: Declaration) -> BullQueue:
        """The queue of an event; the first of them where it has shards.

        Raises:
            ConfigError: on a cluster, neither the queue's name nor the prefix has a hash tag.
        """
        queue = self._queues.get(declaration.queue)
        if queue is None:
            check_hash_tag(self.client.url, self._prefix, declaration)
            queue = self.queue_named(declaration.queue)
        return queue

    def queue_named(self, name: str) -> BullQueue:
        """The queue of a name that has a hash tag, or needs none."""
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = BullQueue(self.client, QueueKeys(self._prefix, name), batched=self._batched)
        return queue

    def schedulers(self, queue: BullQueue) -> Schedulers:
        """The schedulers on a queue."""
        return Schedulers(self.client, queue.keys)

    def shard_registry(self, declaration: Declaration) -> ShardRegistry:
        """The numbers of shards of an event with a queue of its own."""
        registry = self._registries.get(declaration.name)
        if registry is None:
            registry = ShardRegistry(self.client, self.queue(declaration).keys, declaration)
            self._registries[declaration.name] = registry
        return registry

    def shard_router(self, declaration: Declaration) -> ShardRouter:
        """The shards of an event with a queue of its own."""
        router = self._routers.get(declaration.name)
        if router is None:
            registry = self.shard_registry(declaration)
            router = self._routers[declaration.name] = ShardRouter(declaration, registry, self.queue_named)
        return router

    async def close(self) -> None:
        """Close every connection."""
        for registry in self._registries.values():
            registry.close()
        await self.client.close()


def check_hash_tag(url: RedisURL, prefix: str, declaration: Declaration) -> None:
    """Refuse a queue whose keys a cluster would spread over several slots."""
    if url.topology == "cluster" and not has_hash_tag(f"{prefix}:{declaration.queue}"):
        raise ConfigError(
            f"{declaration.name}: on a Redis Cluster the queue {declaration.queue!r} needs a hash tag; "
            f"name it '{{{declaration.queue}}}', or give the herd a prefix such as '{{bull}}'."
        )


class ServerLocator:
    """The server that a herd uses: its URL, else $OXHERD_URL, else the embedded one of the project directory."""

    def __init__(self, url: str | None) -> None:
        self._given = url
        self._lock = threading.Lock()
        self._embedded: EmbeddedServer | None = None
        self._pid = os.getpid()

    def url(self) -> RedisURL:
        """The URL; joins the embedded server where none is configured (this may take a moment).

        Raises:
            ConfigError: the URL, or a certificate that it names, cannot be used.
            ServerError: the embedded server cannot be started.
        """
        if self._given or os.environ.get("OXHERD_URL"):
            url = self._parsed()
            check_tls(url)
            return url
        with self._lock:
            if self._pid != os.getpid():
                # A forked child is a user of the server in its own right.
                self._pid, self._embedded = os.getpid(), None
            if self._embedded is None:
                embedded = EmbeddedServer()
                embedded.start()
                self._embedded = embedded
            return parse_url(self._embedded.url)

    def _parsed(self) -> RedisURL:
        try:
            return parse_url(self._given or os.environ["OXHERD_URL"])
        except ConfigError as error:
            # Without the frames that hold the password: some tools show the variables of each frame.
            refused = error.with_traceback(None)
        raise refused

    def leave(self) -> None:
        """Leave the embedded server; the last to leave stops it."""
        with self._lock:
            embedded, self._embedded = self._embedded, None
        if embedded is not None and self._pid == os.getpid():
            embedded.stop()


class SyncPortal:
    """An event loop in a thread of its own, for callers that have none."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="oxherd-sync", daemon=True)
        # In no event's context, though a handler may be the first to need it.
        Context().run(self._thread.start)
        self.pid = os.getpid()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop."""
        return self._loop

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and wait for its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def close(self) -> None:
        """Stop the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
