"""What people have done to a herd: who, what, and to how many."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TypeVar

from oxherd.admin.target import Herd, connected
from oxherd.bullmq.audit_log import append_entry, newest_entries
from oxherd.errors import OxherdError, UsageError
from oxherd.redis.client import ScriptError
from oxherd.redis.retry import retry_until

T = TypeVar("T")

MOST_ROWS = 1_000
_LONGEST_TEXT = 300
_LARGEST = 2**53


@dataclass(frozen=True, slots=True)
class Audited:
    """Something that somebody has done.

    Attributes:
        who: a name, as the dashboard or the operating system knows it.
        via: `dashboard` or `command line`.
        action: `retry`, `discard`, `cancel`, `promote`, `move`, `pause`, `resume`, `limits`, `run`, `pause-schedule` or
            `resume-schedule`.
        subject: the event, or the queue; "" for all.
        selection: what of it, in a few words; a text that errors were searched for is not kept, since it may be a
            person's.
        done, skipped: on how many it acted, and how many it left alone.
        outcome: `done`, `stopped` or `failed`; `begun` of a long one, which has another entry at its end.
    """

    who: str
    via: str
    action: str
    subject: str = ""
    selection: str = ""
    done: int = 0
    skipped: int = 0
    outcome: str = "done"


@dataclass(frozen=True, slots=True)
class AuditRow:
    """An entry of the audit log; `at` is by the server's clock."""

    at: datetime
    entry: Audited


async def record(herd: Herd, entry: Audited) -> None:
    """Add an entry. Command: XADD."""
    fields = {name: _text(value) for name, value in asdict(entry).items()}
    client = (await connected(herd)).client
    await _asked(herd, lambda: append_entry(client, herd.prefix, fields))


async def audit_rows(herd: Herd, limit: int) -> list[AuditRow]:
    """The newest entries, newest first. Command: XREVRANGE."""
    if type(limit) is not int or not 1 <= limit <= MOST_ROWS:
        raise UsageError(f"limit is a whole number from 1 to {MOST_ROWS}.")
    client = (await connected(herd)).client
    entries = await _asked(herd, lambda: newest_entries(client, herd.prefix, limit))
    return [AuditRow(datetime.fromtimestamp(ms / 1000, UTC), _entry(fields)) for ms, fields in entries]


def _entry(fields: Mapping[str, str]) -> Audited:
    """An entry as it is stored, by whomever."""
    texts = {name: _text(fields.get(name, "")) for name in ("who", "via", "action", "subject", "selection", "outcome")}
    return Audited(done=_number(fields.get("done")), skipped=_number(fields.get("skipped")), **texts)


def _text(value: object) -> str:
    return str(value)[:_LONGEST_TEXT]


def _number(text: str | None) -> int:
    plain = text is not None and text.isascii() and text.isdigit() and len(text) < 17
    return min(int(text), _LARGEST) if plain and text is not None else 0


async def _asked(herd: Herd, attempt: Callable[[], Awaitable[T]]) -> T:
    try:
        return await retry_until(time.monotonic() + herd.emit_timeout, attempt)
    except ScriptError as error:
        raise OxherdError(
            f"The audit log cannot be read or written ({str(error).rstrip('.')}); mend its key."
        ) from None
