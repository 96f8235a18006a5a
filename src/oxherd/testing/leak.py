"""What was found where it may not be, and the error that tells of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_NAMED_RUNS: Final = 3


@dataclass(frozen=True, slots=True)
class Leak:
    """A value of the payload stands in a sink: `path` is its field, `run` what was run, `text` what is around it."""

    sink: str
    path: str
    run: str
    text: str


class LeakError(AssertionError):
    """Values of a payload were found where they may not be; `leaks` lists them."""

    def __init__(self, event: str, leaks: Iterable[Leak]) -> None:
        self.leaks = list(leaks)
        super().__init__(_message(event, self.leaks))


def _message(event: str, leaks: list[Leak]) -> str:
    places: dict[tuple[str, str], list[Leak]] = {}
    for leak in leaks:
        places.setdefault((leak.path, leak.sink), []).append(leak)
    times = "1 place" if len(places) == 1 else f"{len(places)} places"
    lines = [f"{event} leaks its payload in {times}:"]
    for (path, sink), found in places.items():
        runs = list(dict.fromkeys(leak.run for leak in found))
        more = f", and {len(runs) - _NAMED_RUNS} more" if len(runs) > _NAMED_RUNS else ""
        lines.append(f"- {path} stands in {sink}, after {', '.join(runs[:_NAMED_RUNS])}{more}:")
        lines.append(f"    {found[0].text}")
    return "\n".join(lines)
