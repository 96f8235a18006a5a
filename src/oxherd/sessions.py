"""A herd's sessions, one for each event loop that uses it, and the loop in a thread for callers without one."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from oxherd.loop_session import LoopSession, finish
from oxherd.producer.server_locator import ServerLocator
from oxherd.producer.sync_portal import SyncPortal, refuse_in_event_loop
from oxherd.redis.url import RedisURL

T = TypeVar("T")

OpenSession = Callable[[RedisURL, Callable[[], Awaitable[None]]], LoopSession]


class Sessions:
    """Opens a session in each loop on first use; the last one to close leaves the embedded server.

    `open_session` makes one for a server's URL; the session calls its second argument when its loop ends.
    """

    def __init__(self, server: ServerLocator, open_session: OpenSession) -> None:
        self._server = server
        self._open_session = open_session
        self._sessions: dict[asyncio.AbstractEventLoop, LoopSession] = {}
        self._stale: dict[asyncio.AbstractEventLoop, LoopSession] = {}
        self._closing: list[tuple[asyncio.AbstractEventLoop, LoopSession]] = []
        self._opening: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()
        self._portal: SyncPortal | None = None
        self._portal_locks: dict[int, threading.RLock] = {}
        self._pid = os.getpid()
        _all.add(self)

    @property
    def current(self) -> LoopSession | None:
        """The running loop's session, if there is one."""
        return self._sessions.get(asyncio.get_running_loop()) if self._pid == os.getpid() else None

    @property
    def all(self) -> list[LoopSession]:
        """The sessions of every loop."""
        return list(self._sessions.values())

    @property
    def running(self) -> list[LoopSession]:
        """The sessions of this process's loops that run; may be asked for from any thread."""
        own = self._pid == os.getpid()
        return [session for loop, session in list(self._sessions.items()) if own and loop.is_running()]

    @property
    def of_portal(self) -> LoopSession | None:
        """The session of the portal's loop, if that is open; may be asked for from any thread."""
        portal = self._portal
        return None if portal is None or portal.pid != os.getpid() else self._sessions.get(portal.loop)

    async def open(self) -> LoopSession:
        """Return the running loop's session, opened on first use.

        Raises:
            ConfigError, ServerError: as `ServerLocator.url`.
        """
        loop = asyncio.get_running_loop()
        async with self._opening.setdefault(loop, asyncio.Lock()):
            self._forget_gone()
            session = self._sessions.get(loop)
            if session is None:
                if (stale := self._stale.pop(loop, None)) is not None:
                    await stale.close()
                url = await asyncio.to_thread(self._server.url)
                session = self._sessions[loop] = self._open_session(url, self._close)
            return session

    async def close(self) -> None:
        """Close the running loop's session and the portal; the next use opens them again."""
        self._forget_gone()
        session = self.current
        if session is None or not session.ends:
            await finish(asyncio.ensure_future(self._close()))

    def close_sync(self) -> None:
        """Close the portal, from code without an event loop; where other threads have calls in it, the last does."""
        with self._portal_lock():
            portal, self._portal = self._portal, None
            if portal is None or portal.pid != os.getpid():
                return
            portal.retired = True
            in_use = portal.calls > 0
        if not in_use:
            self._close_portal(portal)

    def reopen(self) -> None:
        """Let the next use in each loop look for the server again."""
        self.close_sync()
        self._server.leave()
        self._stale.update(self._sessions)
        self._sessions.clear()

    def run_sync(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the portal's loop and wait for its result.

        Raises:
            UsageError: an event loop runs in this thread.
        """
        try:
            refuse_in_event_loop(coroutine.__name__)
            portal = self._enter_portal()
        except BaseException:
            coroutine.close()
            raise
        try:
            return portal.run(coroutine)
        finally:
            self._leave_portal(portal)

    def _enter_portal(self) -> SyncPortal:
        with self._portal_lock():
            portal = self._portal
            if portal is None or portal.pid != os.getpid():
                portal = self._portal = SyncPortal()
            portal.calls += 1
            return portal

    def _leave_portal(self, portal: SyncPortal) -> None:
        with self._portal_lock():
            portal.calls -= 1
            in_use = portal.calls > 0 or not portal.retired
        if not in_use:
            self._close_portal(portal)
            if not self._sessions and not self._closing:
                self._server.leave()

    def _close_portal(self, portal: SyncPortal) -> None:
        for sessions in (self._sessions, self._stale):
            if (session := sessions.pop(portal.loop, None)) is not None:
                portal.run(session.close())
        portal.close()

    def _portal_lock(self) -> threading.RLock:
        # One for each process: a fork may happen while another thread holds it. A signal's handler may emit as well.
        return self._portal_locks.setdefault(os.getpid(), threading.RLock())

    async def _close(self) -> None:
        loop = asyncio.get_running_loop()
        for sessions in (self._sessions, self._stale):
            if (session := sessions.pop(loop, None)) is not None:
                self._closing.append((loop, session))
        # Also what another call closes: a stop that it waits for needs the server.
        for closing in [closing for closing in self._closing if closing[0] is loop]:
            await closing[1].close()
            if closing in self._closing:
                self._closing.remove(closing)
        await asyncio.to_thread(self.close_sync)
        if not self._sessions and not self._closing:
            await asyncio.to_thread(self._server.leave)

    def _forget_gone(self) -> None:
        """Forget what was opened in loops that are closed, and in a forked child that of its parent."""
        forked, self._pid = self._pid != os.getpid(), os.getpid()
        self._closing = [(loop, session) for loop, session in self._closing if not (forked or loop.is_closed())]
        closed: list[LoopSession] = []
        for sessions in (self._sessions, self._stale):
            if forked:
                sessions.clear()
            closed += [sessions.pop(loop) for loop in list(sessions) if loop.is_closed()]
        if closed:
            while closed:
                closed.pop().forget()
            # Nothing else closes the sockets of a closed loop, and a fetch that waits there would take the next event.
            gc.collect()


_all: weakref.WeakSet[Sessions] = weakref.WeakSet()


def reopen_all() -> None:
    """`reopen` for every herd of the process; for tests."""
    for sessions in list(_all):
        sessions.reopen()
