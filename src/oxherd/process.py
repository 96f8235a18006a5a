"""How long a handler's process lives."""

from __future__ import annotations

import re
from dataclasses import dataclass

from oxherd.errors import DeclarationError
from oxherd.policy import whole_number

_MIB = 1024**2
_UNITS = {"KiB": 1024, "MiB": _MIB, "GiB": 1024**3}
_MEMORY = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?) ?(KiB|MiB|GiB)")
_MOST_BYTES = 1024**5


@dataclass(frozen=True)
class Process:
    """`run_in=Process(...)`: a `def` handler runs in processes of its own, as by `run_in="process"`, that are replaced.

    After an event, a process leaves that has run `max_events`, or that holds more than `max_memory`: a number of bytes,
    or a text such as "512 MiB" (KiB, MiB, GiB). The next event starts another.

    Raises:
        DeclarationError: `max_events` is no number from 1 to a billion, or `max_memory` no memory from 1 MiB to 1 PiB.
    """

    max_events: int | None = None
    max_memory: int | str | None = None

    def __post_init__(self) -> None:
        if self.max_events is not None:
            whole_number(self.max_events, "Process.max_events", least=1)
        if self.max_memory is not None:
            _bytes(self.max_memory)

    @property
    def max_bytes(self) -> int | None:
        """`max_memory` in bytes."""
        return None if self.max_memory is None else _bytes(self.max_memory)


def _bytes(memory: int | str) -> int:
    found = _MEMORY.fullmatch(memory) if isinstance(memory, str) else None
    number = memory if found is None else int(float(found[1]) * _UNITS[found[2]])
    if isinstance(number, bool) or not isinstance(number, int) or not _MIB <= number <= _MOST_BYTES:
        raise DeclarationError(
            'Process.max_memory must be a text such as "512 MiB" (KiB, MiB, GiB), or a whole number of bytes, from 1 '
            "MiB to 1 PiB."
        )
    return number
