"""What came out of a run somewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Heard:
    """A text, and the sink where it stood; `is_payload` and `is_result` say that the sink stores that by design."""

    sink: str
    text: str
    is_payload: bool = False
    is_result: bool = False


Hear = Callable[[Heard], None]
