"""A drill of the user's own: commands that break their server, and mend it."""

from __future__ import annotations

import asyncio
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from oxherd.drills.drill import Drill, Needs
from oxherd.errors import OxherdError, UsageError

if TYPE_CHECKING:
    from oxherd.drills.scene import Scene


@dataclass(frozen=True, slots=True)
class Own:
    """The commands, and the seconds between them; `mends` may be empty, where it mends itself."""

    breaks: str
    mends: str
    seconds: float


def own_drill(own: Own, names: list[str], url: str | None) -> Drill:
    """A drill that runs the commands while there is load on the server of the URL.

    Raises:
        UsageError: there is no URL, a drill is named as well, or a command cannot be read.
    """
    if url is None or names:
        raise UsageError("--break is a drill of its own on a server of yours; give it --url and no name of a drill.")
    steps = [_words(own.breaks), _words(own.mends)]

    async def act(scene: Scene) -> None:
        await _run(steps[0])
        await scene.pause(own.seconds)
        await _run(steps[1])

    return Drill("own", own.breaks, act, Needs.WORKERS, repeats=True)


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        raise UsageError("A command has a quote that is not closed; write it as for a shell.") from None


async def _run(words: list[str]) -> None:
    if not words:
        return
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError as error:
        raise OxherdError(f"The command {words[0]!r} could not be run ({error.strerror}); write its path.") from None
    status = await process.wait()
    if status:
        raise OxherdError(f"The command {words[0]!r} ended with status {status}; the drill was not carried out.")
