"""An event's limits over all workers: how many begin in a window, and run at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Coroutine, Iterator
from typing import Any, Protocol, TypedDict, TypeVar, Unpack

from oxherd.bullmq.limits import LimitFields, max_running_fields, rate_fields
from oxherd.bullmq.per_key import per_key_fields
from oxherd.declaration import Declaration, check_options
from oxherd.errors import UsageError
from oxherd.limits import Limits, PerKey, Rate, check_max_running, check_per_key, check_rate
from oxherd.producer.backend import Backend
from oxherd.producer.delivery import Delivery
from oxherd.producer.limiting import current_limits, write_limits

T = TypeVar("T")


class NewLimits(TypedDict, total=False):
    """What `set_limits` takes: what is left out stays, None ends it."""

    rate: Rate | None
    max_running: int | None
    per_key: PerKey | None


class Herd(Protocol):
    """What limits need of an `Oxherd`."""

    delivery: Delivery | None
    emit_timeout: float

    def __iter__(self) -> Iterator[EventLimits]: ...
    async def backend(self) -> Backend: ...
    def run_sync(self, coroutine: Coroutine[Any, Any, T]) -> T: ...


class EventLimits(ABC):
    """The part of an event that limits it at run time."""

    declaration: Declaration

    @property
    @abstractmethod
    def herd(self) -> Herd: ...

    async def set_limits(self, **limits: Unpack[NewLimits]) -> None:
        """Set `rate`, `max_running` or `per_key` for all workers, at once, until the declaration's own changes.

        None ends a limit. What runs goes on. A test kit that keeps the emits ignores it.

        Raises:
            UsageError: nothing is given; several events share the queue, or the event has shards (but for `per_key`);
                `per_key` is not declared.
            DeclarationError: a limit is not what `Oxherd.event` takes.
            RedisUnavailable: the queue could not be reached within the herd's `emit_timeout`; it may be set.
            OxherdError: a key of the queue is damaged.

        Scripts: declare_limits, look_at_keys.
        """
        fields = self._checked(limits)
        herd = self.herd
        if herd.delivery is None:
            await write_limits(await herd.backend(), self.declaration, fields, timeout=herd.emit_timeout)

    def set_limits_sync(self, **limits: Unpack[NewLimits]) -> None:
        """`set_limits` from code without an event loop. Raises UsageError where one runs in this thread."""
        self.herd.run_sync(self.set_limits(**limits))

    async def limits(self) -> Limits:
        """Return the limits in force, whoever has set them, Node included.

        Of a shared queue, `rate` and `max_running` are those of all its events; with shards there is only `per_key`.

        A test kit that keeps the emits answers what is declared. Command: HMGET.

        Raises:
            RedisUnavailable: the queue could not be reached within the herd's `emit_timeout`.
            OxherdError: what is stored is damaged.
        """
        herd, declaration = self.herd, self.declaration
        if herd.delivery is not None:
            return declaration.limits
        return await current_limits(await herd.backend(), declaration, timeout=herd.emit_timeout)

    def limits_sync(self) -> Limits:
        """`limits` from code without an event loop."""
        return self.herd.run_sync(self.limits())

    def _checked(self, limits: NewLimits) -> list[LimitFields]:
        name = self.declaration.name
        check_options(name, limits, NewLimits.__optional_keys__)
        if not limits:
            raise UsageError(f"{name}: set_limits sets nothing; pass rate=, max_running= or per_key=, None to end it.")
        fields: list[LimitFields] = []
        if "rate" in limits:
            check_rate(limits["rate"], f"{name}: rate")
            fields.append(rate_fields(limits["rate"]))
        if "max_running" in limits:
            check_max_running(limits["max_running"], f"{name}: max_running")
            fields.append(max_running_fields(limits["max_running"]))
        for limit in limits.keys() - {"per_key"}:
            self._refuse_where_not_alone(limit)
        if "per_key" in limits:
            check_per_key(limits["per_key"], f"{name}: per_key")
            if self.declaration.limits.per_key is None:
                raise UsageError(f"{name}: set_limits(per_key=...) needs per_key=PerKey(...) at the declaration.")
            fields.append(per_key_fields(name, limits["per_key"] or PerKey()))
        return fields

    def _refuse_where_not_alone(self, limit: str) -> None:
        """Refuse a limit of a whole queue where that is not the event."""
        declaration = self.declaration
        name = declaration.name
        if declaration.shards > 1:
            raise UsageError(f"{name}: with shards, {limit} would hold for each shard; use per_key=PerKey(...).")
        sharing = sum(event.declaration.queue == declaration.queue for event in self.herd)
        if sharing > 1 or not declaration.own_queue:
            raise UsageError(f"{name}: {limit} would hold for all events of its queue; give it a queue of its own.")
