"""`herd.admin`: reads what the queues of a herd hold, and steers it, over shards and cluster as one."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Unpack
from uuid import UUID

from oxherd.admin import audit, effects, history, overview, story, unknown
from oxherd.admin.actions import action_of
from oxherd.admin.audit import Audited, AuditRow
from oxherd.admin.bulk import Bulk
from oxherd.admin.figures import HistoryRow
from oxherd.admin.moving import Move
from oxherd.admin.rows import Effects, EventRow, KeyRow, ScheduleRow, Story, UnknownQueue
from oxherd.admin.search import Found
from oxherd.admin.selection import Moment, SearchState, SelectionOptions, event_uuid, selected
from oxherd.admin.target import Herd
from oxherd.answers.job_cancel import checked_reason
from oxherd.bullmq.history import Step
from oxherd.bullmq.worker_info import WorkerInfo
from oxherd.emitted import Emitted
from oxherd.errors import UsageError
from oxherd.event_limits import NewLimits
from oxherd.event_pausing import Key
from oxherd.limits import Limits


class Admin:
    """Reads and steers the events of a herd. Whoever asks sees of payloads and errors what the log may show, no more.

    Every call goes on through an outage for the herd's `emit_timeout`, and then raises RedisUnavailable; OxherdError
    names a damaged key. Nothing here blocks a server: pages of at most 1,000, no KEYS. While a test keeps a herd's
    emits, everything is refused with a UsageError, since the server is not the test's.

    What is awaited has a twin for code without an event loop, of the same name and `_sync`; what `find` and the bulk
    operations return is iterated by `async for`, or by `for` where no event loop runs.
    """

    def __init__(self, herd: Herd) -> None:
        self._herd = herd

    # -- reading

    async def events(self) -> list[EventRow]:
        """The declared events, as they are declared, each with what its queues hold.

        Cost: one script a queue and one an event, of constant time (scripts: overview, history), and the registry
        (script: workers).
        """
        return await overview.event_rows(self._herd)

    def events_sync(self) -> list[EventRow]:
        """`events` from code without an event loop."""
        return self._herd.run_sync(self.events())

    def find(
        self,
        event: str | None = None,
        *,
        state: SearchState = "failed",
        limit: int | None = None,
        **narrowed: Unpack[SelectionOptions],
    ) -> Found:
        """Events of a state, of one event or of all; `limit` of them, or every one. No I/O before it is iterated.

        The newest first of those that have ended; else those that begin next. `error`, `error_type`, `since` and
        `until` narrow it (`SelectionOptions`); an error is compared as it is shown. One that changes its state
        meanwhile may be missed, or be found as it was.

        Cost: a script a page of up to 1,000 (script: find), each some milliseconds of a server's time. In failed and
        completed, `since` and `until` are found by an index; an error that few have makes it read them all, 10^5 in
        about half a second. Elsewhere the times are read as well: a million in two to four seconds.

        Raises:
            UnknownEvent: no event has that name.
            UsageError: a value is invalid.
        """
        if limit is not None and (type(limit) is not int or limit < 1):
            raise UsageError("limit is a whole number from 1 on, or None.")
        if event is not None:
            event = self._herd[event].name
        return Found(self._herd, selected(event, state, None, datetime.now(UTC), **narrowed), limit)

    async def show(self, event_id: UUID | str, *, event: str | None = None) -> Story | None:
        """One event's whole story, as far as it is stored; None where nothing is.

        Cost: one script for each queue that may have it (script: status): those of all events, or of the one named, and
        then one HMGET and a script (logs). An id that was derived, as of a schedule's tick, is looked for among the
        newest 10,000 of each state (commands: ZRANGE, LRANGE).

        Raises:
            UsageError: the id is no UUID.
            UnknownEvent: no event has that name.
        """
        return await story.show(self._herd, event_uuid(event_id), event)

    def show_sync(self, event_id: UUID | str, *, event: str | None = None) -> Story | None:
        """`show` from code without an event loop."""
        return self._herd.run_sync(self.show(event_id, event=event))

    async def history(self, event: str, *, since: Moment | None = None, step: Step = "minute") -> list[HistoryRow]:
        """What became of an event's runs, and how long they waited and took: a row a minute, or an hour, oldest first.

        Also those in which nothing happened, up to now. Minutes are kept for a day, hours for 31 days; `since` is an
        aware datetime, or how long ago (seconds or a timedelta), and None all that is kept. Workers write what they
        have counted every five seconds, and Node's workers nothing. `summed` makes one row of several.

        Cost: one script (history) of up to 25 HMGETs, some milliseconds of a server's time for a day of minutes.

        Raises:
            UnknownEvent: no event has that name.
            UsageError: `since` or `step` is invalid.
        """
        return await history.history_rows(self._herd, event, since, step)

    def history_sync(self, event: str, *, since: Moment | None = None, step: Step = "minute") -> list[HistoryRow]:
        """`history` from code without an event loop."""
        return self._herd.run_sync(self.history(event, since=since, step=step))

    async def effects(self, event_id: UUID | str) -> Effects:
        """What an event's handler has emitted, as far as that is still stored, the first emitted first.

        Cost: a script for each state of each queue, which looks at 1,000, the newest of those that have ended or wait
        (script: find).

        Raises:
            UsageError: the id is no UUID.
        """
        return await effects.effects(self._herd, event_uuid(event_id))

    def effects_sync(self, event_id: UUID | str) -> Effects:
        """`effects` from code without an event loop."""
        return self._herd.run_sync(self.effects(event_id))

    async def unknown_queues(self) -> list[UnknownQueue]:
        """The queues of the prefix that no event declares, with what they hold: of a renamed event, or another program.

        A name that a queue of ours or of Node's would hardly have is left out, and a queue that the server's user may
        not read.

        Cost: SCAN over every key of each primary, in steps of 5,000 keys, each some milliseconds of its time: about a
        second for a million keys. Then as `events`.
        """
        return await unknown.unknown_queues(self._herd)

    def unknown_queues_sync(self) -> list[UnknownQueue]:
        """`unknown_queues` from code without an event loop."""
        return self._herd.run_sync(self.unknown_queues())

    async def workers(self) -> list[WorkerInfo]:
        """The live workers, as `Oxherd.workers`."""
        return await self._herd.workers()

    def workers_sync(self) -> list[WorkerInfo]:
        """`workers` from code without an event loop."""
        return self._herd.run_sync(self.workers())

    async def audit(self, *, limit: int = 100) -> list[AuditRow]:
        """What people have done by the dashboard and the command line, the newest first; the last 10,000 are kept.

        Command: XREVRANGE.

        Raises:
            UsageError: `limit` is no number from 1 to 1,000.
        """
        return await audit.audit_rows(self._herd, limit)

    def audit_sync(self, *, limit: int = 100) -> list[AuditRow]:
        """`audit` from code without an event loop."""
        return self._herd.run_sync(self.audit(limit=limit))

    async def record(self, entry: Audited) -> None:
        """Add to the audit log what somebody has done; the dashboard and the command line do. Command: XADD."""
        await audit.record(self._herd, entry)

    # -- acting on a selection

    def retry(
        self,
        event: str | None = None,
        *,
        ids: Iterable[UUID | str] | None = None,
        everything: bool = False,
        **narrowed: Unpack[SelectionOptions],
    ) -> Bulk:
        """Put failed events back on their queues, their attempts counted anew. No I/O before it is iterated.

        A selection is an event, ids, or a filter (`SelectionOptions`), or several; without any only with `everything`.
        What fails again meanwhile is left. Of one that is given by its id and has not failed, nothing changes.

        Cost: as `find`, and a script for each event (script: reprocessJob), 500 at a time.

        Raises:
            UsageError: nothing is selected, or a value is invalid.
            UnknownEvent: no event has that name.
        """
        return self._bulk("retry", event, "failed", ids, everything, narrowed)

    def discard(
        self,
        event: str | None = None,
        *,
        ids: Iterable[UUID | str] | None = None,
        state: SearchState = "failed",
        everything: bool = False,
        **narrowed: Unpack[SelectionOptions],
    ) -> Bulk:
        """Remove events that have failed or completed, or that wait or are delayed; otherwise as `retry`.

        One that waits is cancelled: `result()` raises EventCancelled. A run is not ended (`cancel`), and the next tick
        of a schedule is left.

        Cost: as `retry` (script: removeJob); of one that waits, its place among those that wait is looked for.
        """
        return self._bulk("discard", event, state, ids, everything, narrowed)

    def cancel(
        self,
        event: str | None = None,
        *,
        ids: Iterable[UUID | str] | None = None,
        state: SearchState = "waiting",
        reason: str = "",
        everything: bool = False,
        **narrowed: Unpack[SelectionOptions],
    ) -> Bulk:
        """Cancel events as `Emitted.cancel`: what waits is removed, what runs hears of it. Otherwise as `retry`."""
        return self._bulk("cancel", event, state, ids, everything, narrowed, reason=checked_reason(reason, "admin"))

    def promote(
        self,
        event: str | None = None,
        *,
        ids: Iterable[UUID | str] | None = None,
        everything: bool = False,
        **narrowed: Unpack[SelectionOptions],
    ) -> Bulk:
        """Make delayed events due now, those that wait for another attempt included; otherwise as `retry`.

        The next tick of a schedule is left: `run_schedule` makes another event. Script: promote.
        """
        return self._bulk("promote", event, "delayed", ids, everything, narrowed)

    def move(self, queue: str, event: str) -> Move:
        """Take what waits under a queue that no event has any more to an event's queue, under the event's name.

        For a renamed event: what waits, also with a priority or a delay, keeps its id, payload, lineage, priority, due
        time and time of emit; retries and retention are those of the event from now on. A job of Node's whose id is no
        UUID gets one that is derived. What runs, has failed or completed, and the next ticks of schedules stay.

        At least once: each is added to the event's queue, and only then removed from the old one. Whatever dies in
        between, the same call goes on, and within a day an id is added only once. One that a worker of the old queue
        begins in between runs there as well.

        Cost: for each, one read, one emit and one script (script: removeJob), 100 at a time.

        Raises:
            UnknownEvent: no event has that name.
            UsageError: the queue is an event's, or its name cannot be one.
        """
        return Move(self._herd, queue, self._herd[event])

    # -- events and schedules

    async def pause(self, event: str, *, key: Key | None = None) -> None:
        """Pause an event, or one key of it, as `Event.pause`. Raises UnknownEvent, and as that."""
        await self._herd[event].pause(key=key)

    def pause_sync(self, event: str, *, key: Key | None = None) -> None:
        """`pause` from code without an event loop."""
        self._herd.run_sync(self.pause(event, key=key))

    async def resume(self, event: str, *, key: Key | None = None) -> None:
        """Resume an event, or one key of it, as `Event.resume`. Raises UnknownEvent, and as that."""
        await self._herd[event].resume(key=key)

    def resume_sync(self, event: str, *, key: Key | None = None) -> None:
        """`resume` from code without an event loop."""
        self._herd.run_sync(self.resume(event, key=key))

    async def busiest_keys(self) -> list[KeyRow]:
        """The key of which most waits, of each event with `per_key` of which anything waits; the busiest first.

        Cost: a script a queue, which looks at up to 1,000 jobs (script: busiest_key).
        """
        return await overview.key_rows(self._herd)

    def busiest_keys_sync(self) -> list[KeyRow]:
        """`busiest_keys` from code without an event loop."""
        return self._herd.run_sync(self.busiest_keys())

    async def limits(self, event: str) -> Limits:
        """An event's limits in force, as `Event.limits`. Raises UnknownEvent, and as that."""
        return await self._herd[event].limits()

    def limits_sync(self, event: str) -> Limits:
        """`limits` from code without an event loop."""
        return self._herd.run_sync(self.limits(event))

    async def set_limits(self, event: str, **limits: Unpack[NewLimits]) -> None:
        """Set an event's limits, as `Event.set_limits`. Raises UnknownEvent, and as that."""
        await self._herd[event].set_limits(**limits)

    def set_limits_sync(self, event: str, **limits: Unpack[NewLimits]) -> None:
        """`set_limits` from code without an event loop."""
        self._herd.run_sync(self.set_limits(event, **limits))

    async def schedules(self, event: str | None = None) -> list[ScheduleRow]:
        """The schedules of all events, or of one, the next to tick first; those that are paused last.

        Cost: a script a queue for each 200 schedules (script: schedules).
        """
        return await overview.schedule_rows(self._herd, event)

    def schedules_sync(self, event: str | None = None) -> list[ScheduleRow]:
        """`schedules` from code without an event loop."""
        return self._herd.run_sync(self.schedules(event))

    async def run_schedule(self, event: str, name: str) -> Emitted[Any]:
        """Emit a schedule's payload now, as `Event.run_schedule`. Raises UnknownEvent, and as that."""
        return await self._herd[event].run_schedule(name)

    def run_schedule_sync(self, event: str, name: str) -> Emitted[Any]:
        """`run_schedule` from code without an event loop."""
        return self._herd.run_sync(self.run_schedule(event, name))

    async def pause_schedule(self, event: str, name: str) -> None:
        """Pause a schedule, as `Event.pause_schedule`. Raises UnknownEvent, and as that."""
        await self._herd[event].pause_schedule(name)

    def pause_schedule_sync(self, event: str, name: str) -> None:
        """`pause_schedule` from code without an event loop."""
        self._herd.run_sync(self.pause_schedule(event, name))

    async def resume_schedule(self, event: str, name: str) -> None:
        """Resume a schedule, as `Event.resume_schedule`. Raises UnknownEvent, and as that."""
        await self._herd[event].resume_schedule(name)

    def resume_schedule_sync(self, event: str, name: str) -> None:
        """`resume_schedule` from code without an event loop."""
        self._herd.run_sync(self.resume_schedule(event, name))

    def _bulk(
        self,
        action: str,
        event: str | None,
        state: SearchState,
        ids: Iterable[UUID | str] | None,
        everything: bool,
        narrowed: SelectionOptions,
        *,
        reason: str = "",
    ) -> Bulk:
        if event is not None:
            event = self._herd[event].name
        selection = selected(event, state, ids, datetime.now(UTC), **narrowed)
        if selection.is_open and not everything:
            raise UsageError(
                f"{action} needs a selection: an event, ids or a filter; pass everything=True for all that are {state}."
            )
        return Bulk(self._herd, action, action_of(action, selection, reason), selection)
