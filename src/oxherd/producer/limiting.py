"""Sets and reads an event's limits, through outages."""

from __future__ import annotations

import time

from oxherd.bullmq.limits import LimitFields, read_limits, set_limits
from oxherd.declaration import Declaration
from oxherd.errors import OxherdError, RedisUnavailable
from oxherd.limits import Limits
from oxherd.producer.backend import Backend
from oxherd.redis.client import ScriptError
from oxherd.redis.retry import retry_until


async def write_limits(
    backend: Backend, declaration: Declaration, limits: list[LimitFields], *, timeout: float
) -> None:
    """Set limits in an event's queue; retried for `timeout` seconds.

    Raises:
        RedisUnavailable: the queue could not be reached; they may be set.
        OxherdError: a key of the queue is damaged.
    """
    name, queue = declaration.name, backend.queue(declaration)
    try:
        await retry_until(time.monotonic() + timeout, lambda: set_limits(queue, limits))
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
    try:
        return await retry_until(time.monotonic() + timeout, lambda: read_limits(queue))
    except ScriptError as error:
        raise OxherdError(f"{name}: its limits cannot be read ({str(error).rstrip('.')}); mend that key.") from None
    except ValueError:
        text = f"{name}: its limits in Redis are no numbers that BullMQ writes; set them anew by set_limits()."
        raise OxherdError(text) from None
