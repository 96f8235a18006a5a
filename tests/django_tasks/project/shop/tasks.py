"""The tasks of the cases."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path
from typing import Any

import django
from asgiref.sync import sync_to_async

from oxherd import Discard, Retry, Snooze

if django.VERSION >= (6, 0):
    from django.tasks import task
else:
    from django_tasks import task

NOTES = Path(os.environ.get("TEST_NOTES", os.devnull))


def note(line: str) -> None:
    """Leave a line for the case."""
    with NOTES.open("a") as file:
        file.write(f"{line}\n")


@task
def add(one: Any, other: Any) -> Any:
    return one + other


@task
async def add_later(one: Any, other: Any) -> Any:
    await asyncio.sleep(0)
    return one + other


@task
def nothing() -> None:
    pass


@task
def echo(*args: Any, **kwargs: Any) -> Any:
    return [args, kwargs]


@task
def no_json() -> Any:
    return object()


@task
def bytes_and_tuples() -> Any:
    return {"bytes": b"text", "tuple": (1, 2)}


@task
def fail(message: str) -> None:
    raise ValueError(message)


@task
async def fail_later(message: str) -> None:
    raise ValueError(message)


@task
def leave() -> None:
    raise SystemExit("I leave")


@task(takes_context=True)
def about(context: Any, what: str) -> Any:
    return str(getattr(context.task_result, what, None) or getattr(context, what))


@task(takes_context=True)
async def about_later(context: Any) -> Any:
    return [context.attempt, context.task_result.id, str(context.task_result.status)]


@task(takes_context=True, backend="patient")
def third_time_lucky(context: Any) -> Any:
    if context.attempt < 3:
        raise ConnectionError(f"attempt {context.attempt}")
    return [str(error.exception_class_path) for error in context.task_result.errors]


@task(backend="patient")
def always() -> None:
    raise ConnectionError("away")


@task(backend="patient")
def never() -> None:
    raise KeyError("not tried again")


@task(backend="patient")
def discard() -> None:
    raise Discard("of no use")


@task(takes_context=True)
def snooze_once(context: Any) -> Any:
    if context.attempt == 1:
        raise Snooze(0.01)
    return context.attempt


@task
def unreadable(how: str) -> Any:
    if how == "long":
        return 10**5_000
    nested: list[Any] = []
    for _ in range(300):
        nested = [nested]
    return nested


@task
async def endless() -> None:
    note("begun")
    await asyncio.sleep(300)


@task(backend="one")
def mark(name: str) -> None:
    note(name)


@task(backend="mortal")
def slow_at_first(path: str) -> str:
    if not Path(path).exists():
        Path(path).write_text("begun")
        time.sleep(300)
    return "the second time"


@task
def tried_once() -> None:
    raise ValueError("again")


@task
async def asleep() -> None:
    await asyncio.sleep(300)


@task(backend="keyed")
def keyless(customer: str) -> str:
    return customer


@task
async def thread_of_sync_code() -> Any:
    return await sync_to_async(lambda: threading.current_thread().name)()


# As on every Django; from 6.1 on also in the decorator.
twice = tried_once.using(retry=Retry(attempts=2, delay=0.01, jitter=0))
impatient = asleep.using(timeout=0.2)
keyed = keyless.using(key=lambda customer, **_: customer)
