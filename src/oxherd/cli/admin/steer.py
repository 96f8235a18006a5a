"""`oxherd cancel`, `pause` and `resume`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from oxherd.app import Oxherd
from oxherd.cli.admin.audited import audited, drive_audited, record_done
from oxherd.cli.admin.bulk import report
from oxherd.cli.admin.selection import ids_in_words, split_words
from oxherd.cli.admin.session import with_herd
from oxherd.cli.output import write_line
from oxherd.errors import UsageError


def cancel(target: str, words: Sequence[str], reason: str) -> int:
    """Cancel events by their UUIDs; returns the exit status, 1 if there was nothing to cancel."""
    name, ids = split_words(words)
    if not ids:
        raise UsageError("cancel takes the UUIDs of events, as emit prints them and the log has them.")

    async def act(herd: Oxherd) -> int:
        bulk, entry = herd.admin.cancel(name, ids=ids, reason=reason), audited("cancel", name, ids_in_words(len(ids)))
        summary, stopped = await drive_audited(herd, bulk, entry)
        return report(summary, stopped, lambda: shlex.join(["oxherd", "cancel", target, *words]), fails_empty=True)

    return with_herd(target, act)


def pause(target: str, event: str, key: str | None) -> None:
    """Pause an event for all workers, or one key of it."""

    async def act(herd: Oxherd) -> None:
        await herd[event].pause(key=key)
        await record_done(herd, audited("pause", event, "" if key is None else "one key"))

    with_herd(target, act)
    write_line(f"{_what(event, key)} is paused; what runs goes on. `oxherd resume` ends it.")


def resume(target: str, event: str, key: str | None) -> None:
    """Resume an event, or one key of it."""

    async def act(herd: Oxherd) -> None:
        await herd[event].resume(key=key)
        await record_done(herd, audited("resume", event, "" if key is None else "one key"))

    with_herd(target, act)
    write_line(f"{_what(event, key)} is not paused.")


def _what(event: str, key: str | None) -> str:
    return event if key is None else f"that key of {event}"
