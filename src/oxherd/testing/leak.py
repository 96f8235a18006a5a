"""Leaks and the error that reports them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_NAMED_RUNS: Final = 3


@dataclass(frozen=True, slots=True)
class Leak:
    """A payload value found in a sink: `path` is its field, `run` the scenario, `text` the surrounding text."""

    sink: str
    path: str
    run: str
    text: str


class LeakError(AssertionError):
    """Values of a payload were found outside it; `leaks` lists them."""

    def __init__(self, event: str, leaks: Iterable[Leak]) -> None:
        self.leaks = list(leaks)
        super().__init__(_message(event, self.leaks))


def _message(event: str, leaks: list[Leak]) -> str:
    by_place: dict[tuple[str, str], list[Leak]] = {}
    for leak in leaks:
        by_place.setdefault((leak.path, leak.sink), []).append(leak)
    count = "1 place" if len(by_place) == 1 else f"{len(by_place)} places"
    lines = [f"{event} leaks its payload in {count}:"]
    for (path, sink), found in by_place.items():
        runs = list(dict.fromkeys(leak.run for leak in found))
        more = f", and {len(runs) - _NAMED_RUNS} more" if len(runs) > _NAMED_RUNS else ""
        lines.append(f"- {path} is in {sink}, after {', '.join(runs[:_NAMED_RUNS])}{more}:")
        lines.append(f"    {found[0].text}")
    return "\n".join(lines)
