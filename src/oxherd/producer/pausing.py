"""Pauses and resumes an event on all of its queues, or one of its keys."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from oxherd import limits
from oxherd.bullmq import pausing, per_key
from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.shards import shard_of, shard_queues
from oxherd.declaration import Declaration
from oxherd.errors import OxherdError, RedisUnavailable
from oxherd.producer.backend import Backend
from oxherd.redis.client import ScriptError
from oxherd.redis.retry import retry


async def set_paused(backend: Backend, declaration: Declaration, paused: bool, *, timeout: float) -> None:
    """Pause or resume every queue that has served the event, in any process; retried for `timeout` seconds.

    Raises:
        RedisUnavailable: a queue could not be reached; others may be done.
        OxherdError: a key of a queue is damaged; others may be done.
    """
    call = "pause" if paused else "resume"
    step = _set_all(backend, declaration, paused, time.monotonic() + timeout)
    await _done_in_time(step, backend, declaration.name, call, timeout)


async def set_key_paused(
    backend: Backend, declaration: Declaration, key: bytes, paused: bool, *, timeout: float
) -> None:
    """Pause or resume a key of an event, on the shard that has it; retried for `timeout` seconds. Raises as above."""
    call = "pause" if paused else "resume"
    shard = shard_of(key, declaration.shards) if declaration.shards > 1 else 0
    queue = backend.queue(declaration)
    if shard:
        # To name many for the first time takes long.
        names = await asyncio.to_thread(shard_queues, declaration.name, declaration.shards)
        queue = backend.queue_named(names[shard])
    limit_key, deadline = limits.limit_key(declaration.name, key), time.monotonic() + timeout
    step = retry(lambda: per_key.set_key_paused(queue, limit_key, paused), deadline=deadline)
    await _done_in_time(step, backend, declaration.name, call, timeout)


async def _done_in_time(
    step: Coroutine[Any, Any, None], backend: Backend, name: str, call: str, timeout: float
) -> None:
    try:
        async with asyncio.timeout(timeout):
            await step
    except RedisUnavailable as error:
        text = f"{name}: it may be {call}d in part only ({str(error).rstrip('.')}); call {call}() again."
        raise RedisUnavailable(text, source=error.source, node=error.node, maybe_applied=True) from None
    except TimeoutError:
        text = f"{name}: it may be {call}d in part only (no answer within {timeout:g} s); call {call}() again."
        node = str(backend.client.url)
        raise RedisUnavailable(text, source="command", node=node, maybe_applied=True) from None
    except ScriptError as error:
        why = str(error).rstrip(".")
        text = f"{name}: it may be {call}d in part only ({why}); mend that key, and call {call}() again."
        raise OxherdError(text) from None


async def _set_all(backend: Backend, declaration: Declaration, paused: bool, deadline: float) -> None:
    home = backend.queue(declaration)
    # Before the number of shards is read: `inherit_pause` counts on it.
    await retry(lambda: pausing.set_paused(home, paused), deadline=deadline)
    if not declaration.own_queue:
        return
    most = await retry(backend.shard_registry(declaration).most, deadline=deadline)
    # To name many for the first time takes long.
    names = await asyncio.to_thread(shard_queues, declaration.name, most)

    async def set_one(queue: BullQueue) -> None:
        await retry(lambda: pausing.set_paused(queue, paused), deadline=deadline)

    # One that cannot be reached holds up none of the others.
    results = await asyncio.gather(*(set_one(backend.queue_named(each)) for each in names[1:]), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
