"""What the redaction of one record, or of one failure, may cost: whatever it holds, the event loop goes on."""

from __future__ import annotations

from typing import Final

# Characters that are read, and values that are compared: up to 40 ms.
_MOST_STEPS: Final = 100_000


class TooCostly(Exception):
    """Finding what is withheld would take too long."""


class Budget:
    """Counts steps down."""

    def __init__(self, steps: int = _MOST_STEPS) -> None:
        self._left = steps

    def spend(self, steps: int) -> None:
        """Count steps; raises TooCostly if too few are left."""
        self._left -= steps
        if self._left < 0:
            raise TooCostly
