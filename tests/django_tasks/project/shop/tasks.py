"""The tasks of the cases."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import django

from oxherd import Discard, Retry

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


if django.VERSION < (6, 0) or django.VERSION >= (6, 1):

    @task(retry=Retry(attempts=2, delay=0.01, jitter=0))
    def twice() -> None:
        raise ValueError("again")

    @task(timeout=0.2)
    async def impatient() -> None:
        await asyncio.sleep(300)

    @task(backend="keyed", key=lambda customer, **_: customer)
    def keyed(customer: str) -> str:
        return customer
else:

    @task
    def twice() -> None:
        raise ValueError("again")

    twice = twice.using(retry=Retry(attempts=2, delay=0.01, jitter=0))

    @task
    async def impatient() -> None:
        await asyncio.sleep(300)

    impatient = impatient.using(timeout=0.2)

    @task(backend="keyed")
    def keyed(customer: str) -> str:
        return customer

    keyed = keyed.using(key=lambda customer, **_: customer)
