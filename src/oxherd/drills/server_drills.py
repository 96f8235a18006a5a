"""Drills that break a standalone server."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

from oxherd.drills.drill import Needs, drill
from oxherd.redis.blocking import command

if TYPE_CHECKING:
    from oxherd.drills.session import DrillSession

_MINUTE = 60.0
_PASSWORD, _ROTATED = "known-to-the-workers", "rotated-too-early"


@drill("server.restart", "the server is restarted", Needs.SERVER)
async def restart(session: DrillSession) -> None:
    await session.blocking(session.server.restart)


@drill("server.sigkill", "the server is killed, and comes back with its append-only file", Needs.SERVER)
async def sigkill(session: DrillSession) -> None:
    await session.blocking(session.server.kill)
    await session.pause(0.1, 1.0)
    await session.blocking(session.server.start)


@drill("server.away", "the server is away for a minute", Needs.SERVER, seconds=75)
async def away(session: DrillSession) -> None:
    await session.blocking(session.server.terminate)
    await session.pause(_MINUTE)
    await session.blocking(session.server.start)


@drill("server.slow", "the server is paused and resumed repeatedly", Needs.SERVER, seconds=25)
async def slow(session: DrillSession) -> None:
    for _ in range(3):
        session.server.pause()
        await session.pause(0.3, 5.0)
        session.server.resume()
        await session.pause(0.2, 1.0)


@drill("server.maxmemory", "the server's memory is full", Needs.SERVER, seconds=15)
async def maxmemory(session: DrillSession) -> None:
    server = session.server
    used = int((await session.blocking(server.info, "memory"))["used_memory"])
    await session.blocking(server.command, "CONFIG", "SET", "maxmemory", used + 64 * 1024)
    session.load.padding = 20_000
    await session.pause(3.0, 5.0)
    session.load.padding = 0
    await session.blocking(server.command, "CONFIG", "SET", "maxmemory", 0)


@drill("server.flushall", "FLUSHALL while workers run", Needs.SERVER, erases=True)
async def flushall(session: DrillSession) -> None:
    # So that there is something to erase.
    await asyncio.gather(*(session.load.emit(seconds=2.0) for _ in range(40)))
    await session.blocking(session.server.command, "FLUSHALL")
    # An emit stored before it may be acknowledged a moment later.
    session.erased_at = time.time() + 0.1


@drill("server.noscript", "the server's scripts are flushed repeatedly", Needs.SERVER)
async def noscript(session: DrillSession) -> None:
    for _ in range(10):
        await session.blocking(session.server.command, "SCRIPT", "FLUSH")
        await session.pause(0.05, 0.4)


@drill("server.connections", "connections are killed at random", Needs.SERVER)
async def connections(session: DrillSession) -> None:
    for _ in range(12):
        listed = str(await session.blocking(session.server.command, "CLIENT", "LIST", "TYPE", "normal"))
        ids = [line.split(" ", 1)[0].removeprefix("id=") for line in listed.splitlines() if "cmd=client" not in line]
        for client in session.rng.sample(ids, k=session.rng.randint(1, len(ids))) if ids else ():
            await session.blocking(session.server.command, "CLIENT", "KILL", "ID", client)
        await session.pause(0.05, 0.5)


@drill(
    "server.password",
    "the password is changed before the workers know, and changed back",
    Needs.SERVER,
    server={"password": _PASSWORD},
    seconds=15,
)
async def password(session: DrillSession) -> None:
    server = session.server
    await session.blocking(server.command, "CONFIG", "SET", "requirepass", _ROTATED)
    rotated = partial(command, server.address, password=_ROTATED)
    await session.blocking(rotated, "CLIENT", "KILL", "TYPE", "normal")
    await session.pause(2.0, 4.0)
    await session.blocking(rotated, "CONFIG", "SET", "requirepass", _PASSWORD)
