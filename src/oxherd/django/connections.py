"""Database connections around each run of a handler: working ones before it, closed by Django's rules after it."""

from __future__ import annotations

import threading
import weakref
from collections.abc import AsyncGenerator
from contextvars import ContextVar
from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.core.cache import close_caches
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from oxherd.app import Oxherd
from oxherd.context import Context
from oxherd.resources.declared import CallNext
from oxherd.resources.sync_middleware import SyncCallNext

# What sync code under an `async def` handler has opened; None outside such a run.
_opened: ContextVar[list[BaseDatabaseWrapper] | None] = ContextVar("oxherd_django_opened", default=None)

# Connections of handlers' threads between two runs, which nothing else would close when the worker stops.
_idle: weakref.WeakSet[BaseDatabaseWrapper] = weakref.WeakSet()
_lock = threading.Lock()


def clean_connections(ctx: Context, call_next: SyncCallNext) -> object:
    """Sync middleware: give a `def` handler connections that work, and close after it those that are used up."""
    _opened.set(None)  # in the run's own context
    _prepare()
    try:
        return call_next(ctx)
    finally:
        _release()


def _prepare() -> None:
    for connection in connections.all(initialized_only=True):
        with _lock:
            _idle.discard(connection)
        connection.queries_log.clear()
        if connection.in_atomic_block:
            continue  # a test's, in whose thread the handler is called
        connection.close_if_unusable_or_obsolete()
        # Whatever CONN_HEALTH_CHECKS says: an event must not pay for a restart of the database.
        if connection.connection is not None and not connection.is_usable():
            connection.close()


def _release() -> None:
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            continue
        connection.close_if_unusable_or_obsolete()
        if connection.connection is not None:
            with _lock:
                _idle.add(connection)
    close_caches()


async def close_thread_of_run(ctx: Context, call_next: CallNext) -> object:
    """Middleware: give sync code under a run a thread of its own, as Django does for a request; close what it opens.

    The thread is made by the first `sync_to_async`; a run without one costs two context variables.
    """
    async with ThreadSensitiveContext():
        opened: list[BaseDatabaseWrapper] = []
        token = _opened.set(opened)
        try:
            return await call_next(ctx)
        finally:
            _opened.reset(token)
            if opened:
                await sync_to_async(_close_all)()


def note_connection(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Receiver of `connection_created`, in the thread that opens it."""
    opened = _opened.get()
    if opened is not None:
        opened.append(connection)


def _close_all() -> None:
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:  # a test's, in whose thread sync code runs
            connection.close()
    close_caches()


async def close_idle_connections(herd: Oxherd) -> AsyncGenerator[None]:  # noqa: ARG001 - a lifespan takes the herd
    """Lifespan: close the connections of handlers' threads once the last event has ended."""
    yield
    await sync_to_async(_close_idle, thread_sensitive=False)()


def _close_idle() -> None:
    with _lock:
        idle = list(_idle)
        _idle.clear()
    for connection in idle:
        # Django lets a connection be closed only by its own thread, unless that is shared.
        connection.inc_thread_sharing()
        try:
            connection.close()
        finally:
            connection.dec_thread_sharing()
