"""Which events a page or an action is about, as an address or a form has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast, get_args

from oxherd.admin import SearchState
from oxherd.errors import UsageError
from oxherd.wording import parse_moment

STATES: tuple[SearchState, ...] = ("waiting", "running", "delayed", "failed", "completed", "waiting_children")
_FIELDS = ("error", "error_type", "since", "until")


@dataclass(frozen=True, slots=True)
class Filter:
    """A state, and what narrows it; the texts are as they were typed."""

    state: SearchState
    error: str = ""
    error_type: str = ""
    since: str = ""
    until: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str], state: SearchState) -> Filter:
        """The filter of an address; raises UsageError for a state that there is not."""
        asked = query.get("state") or state
        if asked not in get_args(SearchState):
            raise UsageError(f"state is one of {', '.join(STATES)}.")
        return cls(cast("SearchState", asked), *(query.get(name, "").strip() for name in _FIELDS))

    @property
    def is_narrowed(self) -> bool:
        """Whether anything but the state narrows it."""
        return any(getattr(self, name) for name in _FIELDS)

    def options(self) -> dict[str, Any]:
        """As `find` and the bulk operations take it; raises UsageError."""
        options: dict[str, Any] = {name: text for name in ("error", "error_type") if (text := getattr(self, name))}
        for name in ("since", "until"):
            if text := getattr(self, name):
                options[name] = _moment(text, name)
        return options

    def query(self) -> dict[str, object]:
        """As an address has it."""
        return {"state": self.state, **{name: getattr(self, name) for name in _FIELDS}}


def _moment(text: str, name: str) -> datetime | timedelta:
    return parse_moment(text, name)
