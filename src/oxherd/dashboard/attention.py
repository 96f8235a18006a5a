"""What needs attention: the doctor's findings, each with the page or the action that mends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

from oxherd.dashboard.reading import Reading
from oxherd.doctor import Finding, findings_of, read_facts, read_quick_facts

_QUICK_SECONDS = 2.0
# Looks at every key of the servers, and reads failures.
_THOROUGH_SECONDS = 30.0
# The command line's target, which pages don't name.
_TARGET = ""


@dataclass(frozen=True, slots=True)
class Link:
    """Where a finding leads; `acts` where it changes something, which a viewer may not."""

    label: str
    address: str
    acts: bool = False


@dataclass(frozen=True, slots=True)
class Attention:
    """A finding as a page shows it."""

    what: str
    advice: str
    icon: str
    links: tuple[Link, ...]


async def attention(read: Reading) -> list[Attention]:
    """What is found: of quick checks now, of the others as of the last half minute, once they have been made."""

    async def load_quick() -> list[Finding]:
        return list(findings_of(await read_quick_facts(read.herd, _TARGET)))

    async def load_thorough() -> list[Finding]:
        return list(findings_of(await read_facts(read.herd, _TARGET)))

    quick = await read("findings", load_quick, fresh=_QUICK_SECONDS)
    thorough = read.soon("thorough findings", load_thorough, fresh=_THOROUGH_SECONDS) or []
    kinds = {finding.check for finding in quick} | _QUICK_CHECKS
    return [_shown(each) for each in [*quick, *(each for each in thorough if each.check not in kinds)]]


_QUICK_CHECKS = {"no worker", "paused", "rate", "max running", "flood", "schedule", "clock"}


def _shown(finding: Finding) -> Attention:
    links = _LINKS[finding.check](finding) if finding.check in _LINKS else ()
    return Attention(
        finding.what, finding.advice or f"{_capital(finding.remedy)}.", _ICONS.get(finding.check, "warning"), links
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _event(finding: Finding, label: str = "See it", **query: str) -> Link:
    asked = f"?{urlencode(query)}" if query else ""
    return Link(label, f"/events/{finding.event}{asked}")


def _action(label: str, name: str, **fields: str | None) -> Link:
    return Link(
        label, f"/actions/{name}?{urlencode({key: value for key, value in fields.items() if value})}", acts=True
    )


def _example(finding: Finding) -> Link:
    return Link("See one", f"/stories/{finding.example}")


def _page(label: str, address: str) -> Callable[[Finding], tuple[Link, ...]]:
    return lambda _: (Link(label, address),)


_LINKS: dict[str, Callable[[Finding], tuple[Link, ...]]] = {
    "no worker": lambda found: (_event(found, state="waiting"), Link("Workers", "/workers")),
    "paused": lambda found: (_event(found, state="waiting"), _action("Resume", "resume", event=found.event)),
    "rate": lambda found: (Link("Limits", "/limits"), _action("Set limits", "limits", event=found.event)),
    "max running": lambda found: (Link("Limits", "/limits"), _action("Set limits", "limits", event=found.event)),
    "flood": lambda found: (_example(found), _action("Set limits", "limits", event=found.event)),
    "failures": lambda found: (
        _event(found, "See them", state="failed"),
        _action("Retry", "retry", event=found.event, state="failed"),
    ),
    "lock": lambda found: (_example(found),),
    "unknown queue": lambda found: (_action("Move", "move", queue=found.queue),),
    "kept": lambda found: (_event(found, "See them"),),
    "schedule": _page("Schedules", "/schedules"),
    "clock": _page("Workers", "/workers"),
}
_ICONS = {
    "no worker": "workers",
    "paused": "paused",
    "rate": "limits",
    "max running": "limits",
    "flood": "limits",
    "failures": "failed",
    "schedule": "schedules",
    "lock": "lock",
}
