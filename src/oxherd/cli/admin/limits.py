"""`oxherd limits`: an event's limits over all workers, and new ones at run time."""

from __future__ import annotations

import re

from oxherd.app import Oxherd
from oxherd.cli.admin.audited import audited, record_done
from oxherd.cli.admin.session import with_herd
from oxherd.cli.output import write_line
from oxherd.cli.shown.json_lines import write_json
from oxherd.errors import UsageError
from oxherd.event_limits import NewLimits
from oxherd.limits import Limits, PerKey, Rate
from oxherd.wording import describe_rate

_RATE = re.compile(r"(\d{1,10})/(\d{1,12}(?:\.\d{1,3})?)", re.ASCII)
_ENDS = "none"


def run(target: str, event: str, rate: str | None, max_running: str | None, *, json: bool) -> None:
    """Set what is given, and print what is in force then."""
    wanted = NewLimits()
    if rate is not None:
        wanted["rate"] = parse_rate(rate)
    if max_running is not None:
        wanted["max_running"] = parse_max_running(max_running)

    async def work(herd: Oxherd) -> tuple[str, Limits]:
        if wanted:
            await herd.admin.set_limits(event, **wanted)
            await record_done(herd, audited("limits", event, _in_words(wanted)))
        return event, await herd.admin.limits(event)

    name, limits = with_herd(target, work)
    if json:
        each = limits.per_key
        per_key = None if each is None else {"rate": _plain(each.rate), "max_running": each.max_running}
        write_json({"event": name, "rate": _plain(limits.rate), "max_running": limits.max_running, "per_key": per_key})
        return
    _write("", limits)
    if limits.per_key is not None:
        _write(" of each key", limits.per_key)


def _plain(rate: Rate | None) -> dict[str, float] | None:
    return None if rate is None else {"count": rate.count, "per": rate.per_ms / 1000}


def _write(whose: str, limits: Limits | PerKey) -> None:
    width = len("max running  ") + len(whose)
    most = "no limit" if limits.max_running is None else f"{limits.max_running:,} at once"
    write_line(f"{f'rate{whose}':{width}}{describe_rate(limits.rate)}")
    write_line(f"{f'max running{whose}':{width}}{most}")


def parse_rate(text: str) -> Rate | None:
    """The rate that `N/SECONDS` or `none` says; raises UsageError for another text, DeclarationError as `Rate`."""
    found = _RATE.fullmatch(text)
    if found is None and text != _ENDS:
        raise UsageError("--rate is N/SECONDS, such as 100/60 for 100 begun in 60 seconds, or none.")
    return None if found is None else Rate(int(found[1]), per=float(found[2]))


def parse_max_running(text: str) -> int | None:
    """The number that a text says, None for `none`; raises UsageError for another text."""
    if not (text == _ENDS or (text.isascii() and text.isdigit() and len(text) <= 10)):
        raise UsageError("--max-running is a whole number from 1, or none.")
    return None if text == _ENDS else int(text)


def _in_words(wanted: NewLimits) -> str:
    """For the audit log."""
    words: list[str] = []
    if "rate" in wanted:
        rate = wanted["rate"]
        words.append("no rate" if rate is None else f"rate {rate.count}/{rate.per_ms / 1000:g}")
    if "max_running" in wanted:
        most = wanted["max_running"]
        words.append("no max running" if most is None else f"max running {most}")
    return ", ".join(words)
