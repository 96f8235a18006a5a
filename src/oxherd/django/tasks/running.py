"""The handler of every queue's event: runs a task in the worker's thread, with Django's signals around it."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any

from asgiref.sync import async_to_sync
from django.utils import timezone
from pydantic_core import from_json, to_json

from oxherd.context import Cancelled, Context, LockLost, Stopping, TimedOut, enabled_logger, running_loop
from oxherd.django.project import project_herd
from oxherd.django.tasks import failures
from oxherd.django.tasks.interface import (
    Task,
    TaskContext,
    TaskResult,
    TaskResultDoesNotExist,
    TaskResultStatus,
    normalize_json,
    task_backends,
    task_finished,
    task_started,
)
from oxherd.django.tasks.message import TaskMessage
from oxherd.django.tasks.results import RETURNED, TaskEvent, change, enqueued_at, new_result
from oxherd.errors import OxherdError, RedisUnavailable, is_interrupt
from oxherd.retries import Decision, Snooze, judge

# How often a coroutine's thread looks whether it is to stop.
_LOOK_S = 0.25
# A run that could not learn what was before it, since Redis is away, begins again after so long.
_AWAY_S = 1


def run_task(message: TaskMessage, ctx: Context) -> Any:
    """Run an enqueued task, and return what it returned, as Django's JSON."""
    event = project_herd()[ctx.event]
    sender = type(task_backends[message.backend])
    task = message.as_enqueued()
    result = _begun(event, task, message, ctx)
    try:
        task_started.send(sender, task_result=result)
        value = _readable(normalize_json(_call(task, message, ctx, result)))
    except BaseException as error:
        if not is_interrupt(error):
            _fail(event, message, ctx, result, error, sender)
        raise
    change(result, status=TaskResultStatus.SUCCESSFUL, finished_at=timezone.now(), **{RETURNED: value})
    task_finished.send_robust(sender, task_result=result)
    return value


def _readable(value: Any) -> Any:
    """The value; raises ValueError if nobody could read it back, so that the task fails as with any that is no JSON."""
    try:
        from_json(to_json(value))
    except (ValueError, RecursionError):
        raise ValueError("what it returned is too deeply nested, or has too long a number, to be read again") from None
    return value


def _begun(event: TaskEvent, task: Task[..., Any], message: TaskMessage, ctx: Context) -> TaskResult[..., Any]:
    """The result of a task that has begun, with what is known of earlier runs."""
    if ctx.fence > 1 and event.delivery is None:
        try:
            result = task.get_backend().get_result(str(ctx.id))
        except (RedisUnavailable, TaskResultDoesNotExist) as error:
            raise Snooze(_AWAY_S, "what is known of its earlier runs could not be read") from error
        change(result, status=TaskResultStatus.RUNNING, finished_at=None)
        return result
    now = timezone.now()
    result = new_result(task, message.backend, message.args, message.kwargs)
    change(
        result,
        id=str(ctx.id),
        status=TaskResultStatus.RUNNING,
        enqueued_at=enqueued_at(ctx.id, ctx.emitted_at),
        started_at=now,
        last_attempted_at=now,
        worker_ids=[_worker_id(event, ctx)],
    )
    return result


_of_thread = threading.local()


def _worker_id(event: TaskEvent, ctx: Context) -> str:
    """The id of the worker that runs this: asked for once in each thread, which belongs to one worker."""
    known: str | None = getattr(_of_thread, "worker_id", None)
    if known is None:
        if event.delivery is not None:
            return "in the test"
        try:
            status = event.emitted(ctx.id).status_sync()
        except RedisUnavailable as error:
            raise Snooze(_AWAY_S, "its worker's id could not be read") from error
        known = _of_thread.worker_id = (status and status.worker) or ""
    return known


def _call(task: Task[..., Any], message: TaskMessage, ctx: Context, result: TaskResult[..., Any]) -> Any:
    args = [TaskContext(task_result=result), *message.args] if task.takes_context else message.args
    call = partial(task.func, *args, **message.kwargs)
    if not inspect.iscoroutinefunction(task.func):
        return call()
    to_end = partial(async_to_sync(_to_end), call, message.timeout, ctx)
    if running_loop() is None:
        return to_end()
    # The test kit's `inline` runs it where it is enqueued, which may be in an event loop.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(copy_context().run, to_end).result()


async def _to_end(call: Callable[[], Awaitable[Any]], timeout: float | None, ctx: Context) -> Any:
    """Run a coroutine to its end, which comes sooner if its time is over or the event is told to stop."""
    task = asyncio.ensure_future(call())
    try:
        async with asyncio.timeout(timeout):
            while not (await asyncio.wait([task], timeout=_LOOK_S))[0]:
                if ctx.cancelled is not None and not task.cancelling():
                    task.cancel()
    except TimeoutError:
        task.cancel()
        await asyncio.wait([task])
        raise TimeoutError(f"timed out after {timeout:g} s") from None
    return await task


def _fail(
    event: TaskEvent,
    message: TaskMessage,
    ctx: Context,
    result: TaskResult[..., Any],
    error: BaseException,
    sender: Any,
) -> None:
    """Store what a task has raised, and say so where it is not tried again."""
    if isinstance(ctx.cancelled, Stopping | LockLost):
        return  # it is begun again, here or elsewhere
    # As the worker will judge, which does so after this.
    retry, verdict = event.declaration.retry, judge(error, event.declaration.retry, ctx.attempt, ask=False)
    if isinstance(ctx.cancelled, TimedOut) and not verdict.asked_for:
        timed_out = TimeoutError(str(ctx.cancelled)).with_traceback(error.__traceback__)
        verdict = judge(timed_out, retry, ctx.attempt, ask=False)
        error = timed_out if isinstance(error, asyncio.CancelledError) else error
    decision = verdict.decision
    if decision in (Decision.SNOOZE, Decision.RATE_LIMITED):
        return  # no attempt is spent
    failed = failures.describe(error, ctx)
    result.errors.append(failed.error)
    if event.delivery is None:
        _store(event, ctx, failed)
    is_last = ctx.attempt >= message.attempts or decision in (Decision.FINAL, Decision.DISCARD)
    if is_last or isinstance(ctx.cancelled, Cancelled):
        change(result, status=TaskResultStatus.FAILED, finished_at=timezone.now())
        # Here, so that a receiver finds the error in sys.exc_info().
        task_finished.send_robust(sender, task_result=result)


def _store(event: TaskEvent, ctx: Context, failed: failures.FailedAttempt) -> None:
    try:
        status = event.emitted(ctx.id).status_sync() if ctx.fence > 1 else None
        earlier = [] if status is None else failures.from_progress(status.progress)
        ctx.progress_sync(failures.to_progress([*earlier, failed]))
    except OxherdError as refused:
        enabled_logger().warning(
            "the traceback of a task was not stored: %s", type(refused).__name__, extra={"event_id": ctx.event_id}
        )
