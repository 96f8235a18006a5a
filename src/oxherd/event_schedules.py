"""An event's schedules: emits that repeat."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from pydantic_core import to_json

from oxherd.bullmq.schedule_states import ScheduleState, StoredSchedule
from oxherd.bullmq.schedule_ticks import Wanted, ensure, resume
from oxherd.bullmq.schedulers import Schedulers
from oxherd.declaration import Declaration, check_name
from oxherd.emitted import Emitted
from oxherd.errors import DeclarationError, OxherdError, ScheduleError, UsageError
from oxherd.privacy.shown_payload import Sanitizer
from oxherd.producer.backend import Backend
from oxherd.producer.delivery import Delivery
from oxherd.producer.emitter import Emitter
from oxherd.producer.sync_portal import refuse_in_event_loop
from oxherd.schedule import Cron, Every, When
from oxherd.schedule.info import ScheduleInfo

P = TypeVar("P")
R = TypeVar("R")
S = TypeVar("S")


class EventSchedules(ABC, Generic[P, R]):
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

    @abstractmethod
    def sanitizer(self) -> Sanitizer[P]: ...

    @abstractmethod
    async def emit(self, payload: P, /) -> Emitted[R]: ...

    @abstractmethod
    def run_sync(self, coroutine: Coroutine[Any, Any, S]) -> S: ...

    async def schedule(self, name: str, schedule: When, payload: P, /) -> None:
        """Emit the event at each tick of a `Cron` or an `Every`, under a name that is this event's own.

        Repeating the call with the same arguments (at each start, from each process) changes nothing; other arguments
        replace the schedule. Each tick makes one event, however many workers run; ticks missed while no worker ran are
        made up by one event. A schedule that is paused stays so.

        Raises:
            DeclarationError: the name is invalid or that of a schedule in code, or the schedule is neither a Cron nor
                an Every.
            InvalidPayload, PayloadTooLarge, EmitError: as `emit`.

        Redis: BullMQ's job schedulers (scripts schedules, schedule), in the event's queue.
        """
        wanted = self._wanted(name, schedule, payload)
        if (delivery := self.delivery) is not None:
            delivery.schedule(self.declaration, name, schedule, wanted.data)
            return
        await self._call(lambda schedulers, deadline: ensure(schedulers, wanted, deadline=deadline))

    def schedule_sync(self, name: str, schedule: When, payload: P, /) -> None:
        """`schedule` from code without an event loop; blocks meanwhile."""
        if (delivery := self.delivery) is None:
            self.run_sync(self.schedule(name, schedule, payload))
            return
        refuse_in_event_loop("schedule")
        delivery.schedule(self.declaration, name, schedule, self._wanted(name, schedule, payload).data)

    async def unschedule(self, name: str, /) -> bool:
        """End a schedule and remove its next tick; returns whether there was one. Script: unschedule.

        Raises:
            DeclarationError: the name is invalid, or that of a schedule in code.
            EmitError: Redis did not acknowledge it within the deadline.
        """
        scheduler = self._run_time_id(name)
        if (delivery := self.delivery) is not None:
            return delivery.schedule(self.declaration, name, None, b"")
        return await self._call(lambda schedulers, deadline: schedulers.remove(scheduler, deadline=deadline))

    def unschedule_sync(self, name: str, /) -> bool:
        """`unschedule` from code without an event loop; blocks meanwhile."""
        if (delivery := self.delivery) is None:
            return self.run_sync(self.unschedule(name))
        refuse_in_event_loop("unschedule")
        self._run_time_id(name)
        return delivery.schedule(self.declaration, name, None, b"")

    async def schedules(self) -> list[ScheduleInfo]:
        """Return the event's schedules, in code and made at run time, the next to tick first. Script: schedules.

        Raises:
            EmitError: Redis did not answer within the deadline.
        """
        if self.delivery is not None:
            return []  # a test's schedules are kept: the server is not the test's
        states = await self._call(lambda schedulers, deadline: schedulers.states(deadline))
        prefix = "" if self.declaration.own_queue else f"{self.name}/"
        return [
            self._info(state.id.removeprefix(prefix), state, state.record)
            for state in states
            if state.record is not None and state.id.startswith(prefix)
        ]

    async def run_schedule(self, name: str, /) -> Emitted[R]:
        """Emit a schedule's payload now, as one more event: the schedule's ticks stay as they are.

        Raises:
            UsageError: there is no such schedule.
            EmitError: as `emit`.
        """
        scheduler = self._id(name)
        declared = self.declaration.schedules.get(name)
        if declared is not None:
            return await self.emit(self.declaration.payload.decode(declared.json))
        if self.delivery is not None:
            raise UsageError(f"{self.name}: a test keeps the schedules that are made at run time; emit the event.")
        state = await self._call(lambda schedulers, deadline: schedulers.state(scheduler, deadline))
        if state.record is None:
            raise self._unknown(name)
        payload = self.declaration.payload
        return await self.emit(payload.decode(payload.open(to_json(state.record.data))))

    async def pause_schedule(self, name: str, /) -> None:
        """Make no tick of a schedule until `resume_schedule`; one that is due already still runs.

        It stays paused through deploys and changes. Script: pause_schedule.

        Raises:
            UsageError: there is no such schedule, or it is one of Node's that ends by itself.
            EmitError: Redis did not acknowledge it within the deadline.
        """
        scheduler = self._id(name)
        self._refuse_in_tests("pause_schedule")

        async def pause(schedulers: Schedulers, deadline: float) -> bool:
            state = await schedulers.state(scheduler, deadline)
            if state.record is not None and state.record.bounded:
                raise UsageError(
                    f"{self.name}: the schedule {name} has a limit, an end or an offset of Node's; change it there."
                )
            return await schedulers.pause(scheduler, deadline=deadline)

        if not await self._call(pause):
            raise self._unknown(name)

    async def resume_schedule(self, name: str, /) -> None:
        """Let a paused schedule go on with its next tick; those that were missed meanwhile are not made up.

        Scripts: schedules, schedule.

        Raises:
            UsageError: there is no such schedule.
            ScheduleError: its pattern, which another program wrote, is invalid.
            EmitError: Redis did not acknowledge it within the deadline.
        """
        scheduler = self._id(name)
        self._refuse_in_tests("resume_schedule")

        async def go_on(schedulers: Schedulers, deadline: float) -> bool:
            while True:
                state = await schedulers.state(scheduler, deadline)
                if state.record is None or not state.paused:
                    return state.record is not None
                if await resume(schedulers, state, deadline=deadline):
                    return True

        if not await self._call(go_on):
            raise self._unknown(name)

    async def _call(self, call: Callable[[Schedulers, float], Coroutine[Any, Any, S]]) -> S:
        return await self._emitter.call_schedulers(await self.backend(), call)

    def _wanted(self, name: str, schedule: When, payload: P) -> Wanted:
        if not isinstance(schedule, Cron | Every):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DeclarationError(f"{self.name}: a schedule is a Cron(...) or an Every(...).")
        scheduler, declaration = self._run_time_id(name), self.declaration
        typed = declaration.payload
        return Wanted(scheduler, self.name, schedule, typed.encode(payload), declaration.options, typed.sealer.is_same)

    def _info(self, name: str, state: ScheduleState, record: StoredSchedule) -> ScheduleInfo:
        paused, repeat = state.paused, record.repeat
        try:
            when: When | str = (
                Every(repeat.every / 1000) if repeat.every is not None else _cron(repeat.pattern, repeat.tz)
            )
        except ScheduleError:
            when = repeat.pattern or ""
        last = _time(state.last_ms) if state.last_ms else None
        next_tick = None if paused else _time(record.next_ms)
        return ScheduleInfo(name, when, state.declared, paused, next_tick, last, self._shown(record.data))

    def _shown(self, data: Any) -> Any:
        typed = self.declaration.payload
        try:
            return self.sanitizer().show(typed.decode(typed.open(to_json(data)))).value
        except (OxherdError, ValueError):  # it does not fit, or does not open here
            return None

    def _unknown(self, name: str) -> UsageError:
        return UsageError(f"{self.name}: there is no schedule {name}; schedules() lists those that there are.")

    def _refuse_in_tests(self, call: str) -> None:
        if self.delivery is not None:
            raise UsageError(f"{self.name}: {call}() needs a server, and a test keeps this herd's schedules.")

    def _run_time_id(self, name: str) -> str:
        scheduler = self._id(name)
        if name in self.declaration.schedules:
            raise DeclarationError(
                f"{self.name}: the schedule {name} stands in code, as schedules=; change it there, or pause it."
            )
        return scheduler

    def _id(self, name: str) -> str:
        check_name(name, "schedule")
        return self.declaration.scheduler_id(name)


def _cron(pattern: str | None, tz: str | None) -> Cron:
    return Cron(pattern or "", tz or "UTC")


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
