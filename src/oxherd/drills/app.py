"""The herd of a drill's workers and of its load; workers read their setup from `$OXHERD_DRILL`."""

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

SETUP_VARIABLE = "OXHERD_DRILL"
WORK = "drill.work"
EXTRA = "drill.extra"
TICK = "drill.tick"

Behaviour = Literal["sleep", "block", "hog", "die"]
_CHUNK_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Setup:
    """The setup of a drill's worker.

    `parent` is the drill's process id, `lock` in seconds, `memory` the limit of the address space in bytes (0: none),
    `effects` the file to which handlers write what they do. `shared`: all events share one queue. `extra`: the event
    that older versions do not know is declared.
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
        """The value of the environment variable."""
        return json.dumps(asdict(self))


class Work(BaseModel):
    """A payload: its number, how many seconds it takes, and what the handler does in that time."""

    number: int
    seconds: float = 0.01
    behaviour: Behaviour = "sleep"
    padding: str = ""


class Effects:
    """A file of what handlers did, a line each, written by one system call so that it survives the process."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if path else -1

    def write(self, context: Context, what: str) -> None:
        """Write that a run has begun or is done."""
        if self._descriptor >= 0:
            line = f"{context.event_id} {context.fence} {what} {time.time():.6f} {os.getpid()}\n"
            os.write(self._descriptor, line.encode())


def make_herd(setup: Setup, url: str | None = None) -> Oxherd:
    """A herd with the drill's events, for workers and for the load."""
    herd = Oxherd(url, prefix=setup.prefix, stop_timeout=10, emit_timeout=30)
    effects = Effects(setup.effects)
    queue = "{drill}" if setup.shared else None

    async def work(work: Work, ctx: Context) -> None:
        effects.write(ctx, "begin")
        await _behave(work, ctx)
        effects.write(ctx, "done")

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


async def _behave(work: Work, ctx: Context) -> None:
    # Only the first run blocks, so that another worker can finish the event.
    if work.behaviour == "block" and ctx.fence == 1:
        time.sleep(work.seconds)  # noqa: ASYNC251 - that is the drill
    elif work.behaviour == "hog":
        await asyncio.to_thread(_exhaust_memory)
    elif work.behaviour == "die":
        ctypes.string_at(0)  # a segmentation fault
    else:
        await asyncio.sleep(work.seconds)


def _exhaust_memory() -> None:
    chunks: list[bytearray] = []
    while True:
        chunks.append(bytearray(_CHUNK_BYTES))


def _setup() -> Setup:
    text = os.environ.get(SETUP_VARIABLE)
    setup = Setup(**json.loads(text)) if text else Setup()
    # Without the drill its servers are gone, and the worker would try to connect for ever.
    end_with_parent(setup.parent, signal.SIGKILL)
    if setup.memory:
        resource.setrlimit(resource.RLIMIT_AS, (setup.memory, setup.memory))
    # No core dumps: crashes are part of the drill.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return setup


if SETUP_VARIABLE in os.environ:
    herd = make_herd(_setup())
