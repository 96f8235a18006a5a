"""An action's two halves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from oxherd.admin import Audited
from oxherd.dashboard.access.user import User
from oxherd.dashboard.operations import Operations

if TYPE_CHECKING:
    from oxherd.app import Oxherd

# What an address or a form says.
Fields = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Field:
    """Something to fill in; `choices` are (value, label)."""

    name: str
    label: str
    value: str = ""
    hint: str = ""
    choices: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked before an act.

    Attributes:
        text: what will happen, in a sentence or two.
        button: what the button says.
        is_danger: whether something is destroyed by it.
        hidden: what the form sends along.
        back: the address of the page that leads on if it is not done.
    """

    title: str
    text: str
    button: str
    back: str
    is_danger: bool = False
    hidden: dict[str, str] = field(default_factory=dict[str, str])
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True, slots=True)
class Acting:
    """Who acts, and on what."""

    herd: Oxherd
    operations: Operations
    user: User

    def audited(self, action: str, subject: str = "", selection: str = "") -> Audited:
        """The entry of the audit log."""
        return Audited(self.user.name, "dashboard", action, subject, selection)

    async def record(self, action: str, subject: str = "", selection: str = "") -> None:
        """Put an act that is done into the audit log."""
        await self.herd.admin.record(self.audited(action, subject, selection))


@dataclass(frozen=True, slots=True)
class Action:
    """`ask` makes the question; `act` does it and returns the address that comes next. Both raise UsageError."""

    ask: Callable[[Oxherd, Fields], Awaitable[Question]]
    act: Callable[[Acting, Fields], Awaitable[str]]
