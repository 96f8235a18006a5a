"""A text that a scenario produced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Observation:
    """A text and its sink; `is_payload` and `is_result` mark sinks that store these by design, `is_own_line` what a
    handler logs itself."""

    sink: str
    text: str
    is_payload: bool = False
    is_result: bool = False
    is_own_line: bool = False


Observer = Callable[[Observation], None]
