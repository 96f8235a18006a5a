"""What a check finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong, and what to do: a line each.

    `check` is the name of the check that found it.
    """

    check: str
    what: str
    remedy: str
