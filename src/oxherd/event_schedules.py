"""An event's schedules: emits that repeat."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

from oxherd.bullmq.schedule_ticks import ensure
from oxherd.bullmq.schedulers import Schedulers
from oxherd.declaration import Declaration, check_name
from oxherd.errors import DeclarationError
from oxherd.producer.backend import Backend
from oxherd.producer.delivery import Delivery
from oxherd.producer.emitter import Emitter
from oxherd.schedule import Cron, Every, Schedule

P = TypeVar("P")


class EventSchedules(ABC, Generic[P]):
    """The part of an event that schedules it."""

    declaration: Declaration
    _emitter: Emitter

    @property
    @abstractmethod
    def name(self) -> str: ...

    @property
    @abstractmethod
    def delivery(self) -> Delivery | None: ...

    @abstractmethod
    async def backend(self) -> Backend: ...

    async def schedule(self, name: str, schedule: Schedule, payload: P, /) -> None:
        """Emit the event at each tick of a `Cron` or an `Every`, under a name that is this event's own.

        Repeating the call with the same arguments (at each start, from each process) changes nothing; other arguments
        replace the schedule. Each tick makes one event, however many workers run; ticks missed while no worker ran are
        made up by one event.

        Raises:
            DeclarationError: the name is invalid, or the schedule is neither a Cron nor an Every.
            InvalidPayload, PayloadTooLarge, EmitError: as `emit`.

        Redis: BullMQ's job schedulers (scripts getJobScheduler, addJobScheduler), in the event's queue.
        """
        if not isinstance(schedule, Cron | Every):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DeclarationError(f"{self.name}: a schedule is a Cron(...) or an Every(...).")
        scheduler, declaration = self._scheduler_id(name), self.declaration
        data, same = declaration.payload.encode(payload), declaration.payload.sealer.is_same
        if (delivery := self.delivery) is not None:
            delivery.schedule(declaration, name, schedule, data)
            return

        def call(schedulers: Schedulers, deadline: float) -> Coroutine[Any, Any, None]:
            return ensure(
                schedulers, scheduler, self.name, schedule, data, declaration.options, same, deadline=deadline
            )

        await self._emitter.call_schedulers(await self.backend(), call)

    async def unschedule(self, name: str, /) -> bool:
        """End a schedule and remove its next tick; returns whether there was one. Script: removeJobScheduler.

        Raises:
            EmitError: Redis did not acknowledge it within the deadline.
        """
        scheduler = self._scheduler_id(name)
        if (delivery := self.delivery) is not None:
            return delivery.schedule(self.declaration, name, None, b"")
        return await self._emitter.call_schedulers(
            await self.backend(), lambda schedulers, deadline: schedulers.remove(scheduler, deadline=deadline)
        )

    def _scheduler_id(self, name: str) -> str:
        check_name(name, "schedule")
        # Events that share a queue must not share scheduler ids.
        return name if self.declaration.own_queue else f"{self.name}/{name}"
