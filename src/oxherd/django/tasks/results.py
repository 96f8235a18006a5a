"""What became of a task: asks the queues of its backend, all at once, and reads what they have."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from oxherd.admin.rows import AttemptInfo
from oxherd.answers.status import Status
from oxherd.django.tasks.failures import errors_of
from oxherd.django.tasks.interface import Task, TaskResult, TaskResultDoesNotExist, TaskResultStatus
from oxherd.django.tasks.message import TaskMessage
from oxherd.emitted import Emitted
from oxherd.errors import ResultGone
from oxherd.event import Event

TaskEvent = Event[TaskMessage, Any]

_STATUSES = {
    "running": TaskResultStatus.RUNNING,
    "completed": TaskResultStatus.SUCCESSFUL,
    "failed": TaskResultStatus.FAILED,
}
# The field behind `return_value`: the one that only a backend sets.
(RETURNED,) = [field.name for field in fields(TaskResult) if not field.init]


def new_result(task: Task[..., Any], alias: str, args: Any, kwargs: Any) -> TaskResult[..., Any]:
    """The result of a task that is about to be enqueued; raises TypeError or ValueError for what is no JSON."""
    return TaskResult(
        task=task,
        id="",
        status=TaskResultStatus.READY,
        enqueued_at=None,
        started_at=None,
        finished_at=None,
        last_attempted_at=None,
        args=list(args),
        kwargs=dict(kwargs),
        backend=alias,
        errors=[],
        worker_ids=[],
    )


def change(result: TaskResult[..., Any], **fields: Any) -> None:
    """Set fields of a result, which is frozen for everybody but backends."""
    for name, value in fields.items():
        object.__setattr__(result, name, value)


def enqueued_at(event_id: UUID, emitted_at: datetime | None = None) -> datetime | None:
    """When a task was enqueued: its id says it, the same wherever it is read, unless somebody else has made that."""
    if event_id.version == 7:
        return project_time(datetime.fromtimestamp((event_id.int >> 80) / 1000, UTC))
    return _time(emitted_at)


def project_time(moment: datetime) -> datetime:
    """A moment as the project has them: aware, or without USE_TZ naive."""
    return moment if settings.USE_TZ else timezone.make_naive(moment)


async def read_result(events: Mapping[str, TaskEvent], alias: str, result_id: str) -> TaskResult[..., Any]:
    """The result of a task, on whichever of the queues it is.

    Raises:
        TaskResultDoesNotExist: nothing is stored of it.
        InvalidTask: its function is not here.
        RedisUnavailable: no queue has it, and one of them did not answer in time.
    """
    event_id = _event_id(result_id)
    found = None if event_id is None else await _find(events, event_id)
    if event_id is None or found is None:
        raise TaskResultDoesNotExist(result_id)
    queue, status = found
    emitted = events[queue].emitted(event_id)
    message, value, attempts = await asyncio.gather(
        events[queue].payload(event_id), _value(emitted, status), _attempts(events[queue], event_id, status)
    )
    if message is None:
        raise TaskResultDoesNotExist(result_id)
    result = new_result(message.as_enqueued(), alias, message.args, message.kwargs)
    change(
        result,
        id=result_id,
        status=_STATUSES.get(status.state, TaskResultStatus.READY),
        enqueued_at=enqueued_at(event_id, status.emitted_at),
        started_at=_first_begin(attempts, status),
        last_attempted_at=_time(status.began_at),
        finished_at=_time(status.ended_at),
        errors=errors_of(status),
        worker_ids=_worker_ids(attempts, status),
        **{RETURNED: value},
    )
    return result


def _event_id(result_id: object) -> UUID | None:
    """The event's UUID, if that is what a caller has."""
    with suppress(ValueError):
        if isinstance(result_id, str) and str(found := UUID(result_id)) == result_id:
            return found
    return None


async def _find(events: Mapping[str, TaskEvent], event_id: UUID) -> tuple[str, Status] | None:
    """The queue that has a task, and its status, without waiting for servers of others that may be away."""

    async def ask(queue: str) -> tuple[str, Status | None]:
        return queue, await events[queue].emitted(event_id).status()

    asked = [asyncio.ensure_future(ask(queue)) for queue in events]
    failure: Exception | None = None
    try:
        for answer in asyncio.as_completed(asked):
            try:
                queue, status = await answer
            except Exception as error:  # noqa: BLE001 - raised below, unless another queue has the task
                failure = error
                continue
            if status is not None:
                return queue, status
    finally:
        for each in asked:
            each.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    if failure is not None:
        raise failure
    return None


async def _value(emitted: Emitted[Any], status: Status) -> Any:
    """What a task that has completed returned."""
    if status.state != "completed":
        return None
    try:
        return await emitted.result()
    except ResultGone:
        raise TaskResultDoesNotExist(str(emitted.id)) from None


async def _attempts(event: TaskEvent, event_id: UUID, status: Status) -> tuple[AttemptInfo, ...]:
    """The runs of a task that was begun more than once; of the first one its status says all."""
    if status.fence <= 1:
        return ()
    story = await event.herd.admin.show(event_id, event=event.name)
    return () if story is None else story.attempts


def _worker_ids(attempts: tuple[AttemptInfo, ...], status: Status) -> list[str]:
    known = [attempt.worker for attempt in attempts if attempt.worker is not None]
    return known or ([] if status.worker is None or status.began_at is None else [status.worker])


def _first_begin(attempts: tuple[AttemptInfo, ...], status: Status) -> datetime | None:
    began = [attempt.began_at for attempt in attempts if attempt.began_at is not None]
    return _time(min([*began, status.began_at]) if status.began_at is not None else None)


def _time(moment: datetime | None) -> datetime | None:
    return None if moment is None else project_time(moment)
