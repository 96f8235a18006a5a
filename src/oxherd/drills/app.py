"""The herd that a drill's workers process, and that its load is emitted to; set up by `$OXHERD_DRILL`."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import resource
import signal
import time
from dataclasses import asdict, dataclass
from typing import Literal

from pydantic import BaseModel

from oxherd import Context, Oxherd, Retry
from oxherd.worker.executors.parent_death import end_with_parent

VARIABLE = "OXHERD_DRILL"
WORK = "drill.work"
EXTRA = "drill.extra"
TICK = "drill.tick"

What = Literal["sleep", "block", "hog", "die"]
_CHUNK_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker of a drill is told.

    `parent` is the drill's own process, `lock` is in seconds, `memory` in bytes (the most that the process may map; 0:
    as much as it likes), `effects` the path of the file in which handlers note what they did. `shared`: its events have
    one queue. `extra`: it knows the event that older versions do not.
    """

    parent: int = 0
    prefix: str = "drill"
    effects: str = ""
    concurrency: int = 5
    lock: float = 2.0
    memory: int = 0
    shared: bool = False
    extra: bool = False

    def json(self) -> str:
        """As the environment carries it."""
        return json.dumps(asdict(self))


class Work(BaseModel):
    """One piece of work: its number, how long it takes in seconds, and what its handler does in that time."""

    number: int
    seconds: float = 0.01
    what: What = "sleep"
    padding: str = ""


class Effects:
    """What handlers did, a line each, written with one system call: it is there also when the process dies next."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if path else -1

    def note(self, context: Context, what: str) -> None:
        """Note that a run began or is done."""
        if self._descriptor >= 0:
            line = f"{context.event_id} {context.fence} {what} {time.time():.6f} {os.getpid()}\n"
            os.write(self._descriptor, line.encode())


def make_herd(setup: Setup, url: str | None = None) -> Oxherd:
    """The drill's events on a herd; the same for workers and for the load."""
    herd = Oxherd(url, prefix=setup.prefix, stop_timeout=10, emit_timeout=30)
    effects = Effects(setup.effects)
    queue = "{drill}" if setup.shared else None

    async def work(work: Work, ctx: Context) -> None:
        effects.note(ctx, "begin")
        await _do(work, ctx)
        effects.note(ctx, "done")

    for name in (WORK, EXTRA, TICK) if setup.extra else (WORK, TICK):
        herd.event(
            name,
            concurrency=setup.concurrency,
            lock=setup.lock,
            retry=Retry(attempts=2, delay=0.2),
            queue=queue,
            sanitize=lambda work: {"number": work.number},
        )(work)
    return herd


async def _do(work: Work, ctx: Context) -> None:
    # Only the first time: whoever is given the event next is to go on.
    if work.what == "block" and ctx.fence == 1:
        time.sleep(work.seconds)  # noqa: ASYNC251 - that is the drill
    elif work.what == "hog":
        await asyncio.to_thread(_hog)
    elif work.what == "die":
        ctypes.string_at(0)  # a segmentation fault, each time
    else:
        await asyncio.sleep(work.seconds)


def _hog() -> None:
    """Take memory until there is none."""
    taken: list[bytearray] = []
    while True:
        taken.append(bytearray(_CHUNK_BYTES))


def _setup() -> Setup:
    text = os.environ.get(VARIABLE)
    setup = Setup(**json.loads(text)) if text else Setup()
    # Without the drill, the servers are gone as well: a worker would look for them for ever.
    end_with_parent(setup.parent, signal.SIGKILL)
    if setup.memory:
        resource.setrlimit(resource.RLIMIT_AS, (setup.memory, setup.memory))
    # A crash is the drill, its dump would be a file left behind.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return setup


if VARIABLE in os.environ:
    herd = make_herd(_setup())
