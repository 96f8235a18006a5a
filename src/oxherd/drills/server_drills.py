"""Drills that break a standalone server."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

from oxherd.drills.drill import Needs, drill
from oxherd.redis.blocking import command

if TYPE_CHECKING:
    from oxherd.drills.scene import Scene

_MINUTE = 60.0
_KNOWN, _WRONG = "the-one-that-they-know", "rotated-too-early"


@drill("server.restart", "the server is restarted", Needs.SERVER)
async def restart(scene: Scene) -> None:
    await scene.blocking(scene.server.restart)


@drill("server.sigkill", "the server is killed, and comes back with its append-only file", Needs.SERVER)
async def sigkill(scene: Scene) -> None:
    await scene.blocking(scene.server.kill)
    await scene.pause(0.1, 1.0)
    await scene.blocking(scene.server.start)


@drill("server.away", "the server is away for a minute", Needs.SERVER, seconds=75)
async def away(scene: Scene) -> None:
    await scene.blocking(scene.server.terminate)
    await scene.pause(_MINUTE)
    await scene.blocking(scene.server.start)


@drill("server.slow", "the server is stopped and goes on, again and again", Needs.SERVER, seconds=25)
async def slow(scene: Scene) -> None:
    for _ in range(3):
        scene.server.pause()
        await scene.pause(0.3, 5.0)
        scene.server.resume()
        await scene.pause(0.2, 1.0)


@drill("server.maxmemory", "the server's memory is full", Needs.SERVER, seconds=15)
async def maxmemory(scene: Scene) -> None:
    server = scene.server
    used = int((await scene.blocking(server.info, "memory"))["used_memory"])
    await scene.blocking(server.command, "CONFIG", "SET", "maxmemory", used + 64 * 1024)
    scene.load.padding = 20_000
    await scene.pause(3.0, 5.0)
    scene.load.padding = 0
    await scene.blocking(server.command, "CONFIG", "SET", "maxmemory", 0)


@drill("server.flushall", "FLUSHALL under the workers' feet", Needs.SERVER, erases=True)
async def flushall(scene: Scene) -> None:
    # Something must be there to be erased.
    await asyncio.gather(*(scene.load.emit(seconds=2.0) for _ in range(40)))
    await scene.blocking(scene.server.command, "FLUSHALL")
    # What was stored before, and answered a moment later, is erased as well.
    scene.erased_at = time.time() + 0.1


@drill("server.noscript", "the server forgets its scripts, again and again", Needs.SERVER)
async def noscript(scene: Scene) -> None:
    for _ in range(10):
        await scene.blocking(scene.server.command, "SCRIPT", "FLUSH")
        await scene.pause(0.05, 0.4)


@drill("server.connections", "connections are killed at random", Needs.SERVER)
async def connections(scene: Scene) -> None:
    for _ in range(12):
        listed = str(await scene.blocking(scene.server.command, "CLIENT", "LIST", "TYPE", "normal"))
        ids = [line.split(" ", 1)[0].removeprefix("id=") for line in listed.splitlines() if "cmd=client" not in line]
        for client in scene.rng.sample(ids, k=scene.rng.randint(1, len(ids))) if ids else ():
            await scene.blocking(scene.server.command, "CLIENT", "KILL", "ID", client)
        await scene.pause(0.05, 0.5)


@drill(
    "server.password",
    "the password is changed before the workers know, and changed back",
    Needs.SERVER,
    server={"password": _KNOWN},
    seconds=15,
)
async def password(scene: Scene) -> None:
    server = scene.server
    await scene.blocking(server.command, "CONFIG", "SET", "requirepass", _WRONG)
    rotated = partial(command, server.address, password=_WRONG)
    await scene.blocking(rotated, "CLIENT", "KILL", "TYPE", "normal")
    await scene.pause(2.0, 4.0)
    await scene.blocking(rotated, "CONFIG", "SET", "requirepass", _KNOWN)
