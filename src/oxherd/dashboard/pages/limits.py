"""The limits of all events, and the keys of which most waits."""

from __future__ import annotations

from oxherd.admin import EventRow
from oxherd.dashboard.page import Page, Request
from oxherd.dashboard.reading import Reading
from oxherd.limits import Rate


async def load(read: Reading, request: Request) -> Page:  # noqa: ARG001
    """The limits."""
    rows = await read.events()
    keys = await read("busiest keys", read.admin.busiest_keys, fresh=2.0)
    values = {"rows": rows, "keys": keys, "described": described_rate, "takes": _takes}
    return Page("limits.html", "Limits", values, nav="limits")


_UNITS = {1_000: "second", 60_000: "minute", 3_600_000: "hour", 86_400_000: "day"}


def described_rate(rate: Rate | None) -> str:
    """A rate as people say it."""
    if rate is None:
        return "none"
    per = _UNITS.get(rate.per_ms, f"{rate.per_ms / 1000:g} s")
    return f"{rate.count:,} a {per}" if per[0].isalpha() else f"{rate.count:,} in {per}"


def _takes(row: EventRow) -> float | None:
    """How many seconds what waits takes by its rate."""
    rate = row.limits.rate
    return None if rate is None or not row.waiting else row.waiting / rate.count * rate.per_ms / 1000
