"""`oxherd cancel`, `pause` and `resume`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from oxherd.app import Oxherd
from oxherd.cli.admin.bulk import drive, report
from oxherd.cli.admin.selection import split_words
from oxherd.cli.admin.session import with_herd
from oxherd.cli.output import write_line
from oxherd.errors import UsageError


def cancel(target: str, words: Sequence[str], reason: str) -> int:
    """Cancel events by their UUIDs; returns the exit status, 1 if there was nothing to cancel."""
    name, ids = split_words(words)
    if not ids:
        raise UsageError("cancel takes the UUIDs of events, as emit prints them and the log has them.")

    async def act(herd: Oxherd) -> int:
        summary, stopped = await drive(herd.admin.cancel(name, ids=ids, reason=reason))
        return report(summary, stopped, lambda: shlex.join(["oxherd", "cancel", target, *words]), fails_empty=True)

    return with_herd(target, act)


def pause(target: str, event: str, key: str | None) -> None:
    """Pause an event for all workers, or one key of it."""

    async def act(herd: Oxherd) -> None:
        await herd[event].pause(key=key)

    with_herd(target, act)
    write_line(f"{_what(event, key)} is paused; what runs goes on. `oxherd resume` ends it.")


def resume(target: str, event: str, key: str | None) -> None:
    """Resume an event, or one key of it."""

    async def act(herd: Oxherd) -> None:
        await herd[event].resume(key=key)

    with_herd(target, act)
    write_line(f"{_what(event, key)} is not paused.")


def _what(event: str, key: str | None) -> str:
    return event if key is None else f"that key of {event}"
