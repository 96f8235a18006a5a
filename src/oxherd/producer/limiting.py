"""Sets and reads an event's limits, through outages."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from oxherd.bullmq.limits import LimitFields, read_limits, set_limits
from oxherd.bullmq.per_key import look_at_keys, read_per_key
from oxherd.bullmq.shards import shard_queues
from oxherd.declaration import Declaration
from oxherd.errors import OxherdError, RedisUnavailable
from oxherd.limits import NO_LIMITS, Limits
from oxherd.producer.backend import Backend
from oxherd.redis.client import ScriptError
from oxherd.redis.retry import retry_until


async def write_limits(
    backend: Backend, declaration: Declaration, limits: list[LimitFields], *, timeout: float
) -> None:
    """Set limits in an event's queue, or all of its shards; retried for `timeout` seconds.

    Raises:
        RedisUnavailable: the queue could not be reached; they may be set.
        OxherdError: a key of the queue is damaged.
    """
    name, shards = declaration.name, declaration.shards
    queues = [backend.queue(declaration)]
    if shards > 1:
        queues += [backend.queue_named(each) for each in (await asyncio.to_thread(shard_queues, name, shards))[1:]]

    async def write() -> None:
        for queue in queues:
            await set_limits(queue, limits)
            if declaration.limits.per_key is not None:
                await look_at_keys(queue)

    try:
        await retry_until(time.monotonic() + timeout, write)
    except RedisUnavailable as error:
        text = f"{name}: its limits may not be set ({str(error).rstrip('.')}); call set_limits() again."
        raise RedisUnavailable(text, source=error.source, node=error.node, maybe_applied=True) from None
    except ScriptError as error:
        why = str(error).rstrip(".")
        raise OxherdError(f"{name}: its limits cannot be set ({why}); mend that key, and call it again.") from None


async def current_limits(backend: Backend, declaration: Declaration, *, timeout: float) -> Limits:
    """The limits in an event's queue; retried for `timeout` seconds.

    Raises:
        RedisUnavailable: the queue could not be reached.
        OxherdError: what is stored is damaged.
    """
    name, queue = declaration.name, backend.queue(declaration)

    async def read() -> Limits:
        # What somebody may have set for one shard is none of the event.
        limits = await read_limits(queue) if declaration.shards == 1 else NO_LIMITS
        return replace(limits, per_key=await read_per_key(queue, name))

    try:
        return await retry_until(time.monotonic() + timeout, read)
    except ScriptError as error:
        raise OxherdError(f"{name}: its limits cannot be read ({str(error).rstrip('.')}); mend that key.") from None
    except ValueError:
        text = f"{name}: its limits in Redis are no numbers that BullMQ writes; set them anew by set_limits()."
        raise OxherdError(text) from None
