"""Who asks, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a user may do."""

    VIEWER = "viewer"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class User:
    """Someone who may see the dashboard.

    Attributes:
        name: as the audit log has it.
        role: a viewer sees everything and changes nothing.
        signed_in: whether by a token on the page to sign in, so that they can sign out.
    """

    name: str
    role: Role
    signed_in: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "role", Role(self.role))  # of a plain "viewer" as well

    @property
    def may_act(self) -> bool:
        """Whether they may change anything."""
        return self.role is Role.OPERATOR
